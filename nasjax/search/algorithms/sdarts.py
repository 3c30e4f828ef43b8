"""SmoothDARTS: the weights are trained around alpha, not at alpha.

Chen and Hsieh, "Stabilizing Differentiable Architecture Search via Perturbation-based
Regularization", ICML 2020, arXiv 2002.05283, eq. 2 and Algorithm 1:

    alpha <- moved by the rest of the sentence, with the clean mixing weights A
    w     <- SGD(w, grad_w L_train(w, A + delta)),   |delta| <= eps

with delta random (`sdarts_rs`) or adversarial (`sdarts_adv`); eps grows by epoch from
0.03 to 0.3. Any search can be smoothed: first-order DARTS in the paper, others by name
(`amended+sdarts_rs`).

Deviations: see `nasjax.search.perturb`.
"""

from __future__ import annotations

from typing import Any

from nasjax.core.limits import Limit, at_least
from nasjax.search.base import Smoothing
from nasjax.search.perturb import ramp

SETTINGS: dict[str, Any] = {
    "eps_start": 0.03,  # eps, size of the perturbation, in the first epoch
    "eps_end": 0.3,  # eps after the last epoch; it grows linearly by epoch
}


LIMITS: dict[str, Limit] = {
    "eps_start": at_least(0.0),
    "eps_end": at_least(0.0),
}


def smoothing(settings, name: str, perturbation, cost: float) -> Smoothing:
    """A perturbed weight step whose eps grows.

    Args:
      settings: the fields eps_start and eps_end.
      name: name of the perturbation.
      perturbation: project: bool -> perturbation, see `nasjax.search.perturb`.
      cost: added cost of a weight step, in evaluations of one batch's gradient.
    """
    return Smoothing(
        name, perturbation, ramp(settings.eps_start, settings.eps_end), cost
    )
