"""SmoothDARTS: the weights train around alpha, not at it.

Chen and Hsieh, "Stabilizing Differentiable Architecture Search via Perturbation-based
Regularization", ICML 2020, arXiv 2002.05283, eq. 2 and Algorithm 1:

    alpha <- as the search that is wrapped moves it, by the clean mixing weights A
    w     <- SGD(w, grad_w L_train(w, A + delta)),   |delta| <= eps

with delta random (`sdarts_rs`) or adversarial (`sdarts_adv`); eps grows by epoch from
0.03 to 0.3. Any search can be wrapped: first-order DARTS in the paper, and by
`config.base` others.

Deviations: see `nasjax.search.perturb`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nasjax.search.base import Problem, Search, Smoothing
from nasjax.search.perturb import Perturbation, ramp


def smooth(
    problem: Problem,
    settings,
    bases: Mapping[str, Callable],
    name: str,
    perturbation: Perturbation,
    cost: float,
) -> Search:
    """The search problem.base with a perturbed weight step.

    Args:
      problem: the supernet.
      settings: eps_start, eps_end, and the settings of each base under its name.
      bases: what can be wrapped: name -> builder.
      name: of the perturbation.
      perturbation: see `nasjax.search.perturb`.
      cost: in evaluations of one batch's gradient.
    """
    eps = ramp(settings.eps_start, settings.eps_end, problem.epochs)
    smoothed = problem._replace(smoothing=Smoothing(perturbation, eps, cost))
    search = bases[problem.base](smoothed, settings[problem.base])
    direction = search.direction
    return search._replace(
        direction=direction._replace(name=f"{direction.name}_{name}")
    )
