"""SDARTS-ADV: SmoothDARTS with adversarial perturbations.

Chen and Hsieh, arXiv 2002.05283, section 3.3; what both share is in `sdarts`.

    delta <- P(delta + lr sign(grad_delta L_train(w, A + delta))), 7 times   (eq. 4)

on the batch of the weight step, by the network in evaluation mode.

Deviations: eq. 4 prints the gradient where the released code takes its sign; this is
the code's, `steepest = False` the equation's. Others: see `nasjax.search.perturb`.
"""

from __future__ import annotations

from nasjax.search import perturb
from nasjax.search.algorithms.sdarts import smooth
from nasjax.search.base import Problem, Search
from nasjax.search.directions import FORWARD


def build(problem: Problem, settings, bases) -> Search:
    """settings: attack_steps, norm, steepest; `sdarts`'."""
    steps = settings.attack_steps
    attack = perturb.pgd(steps, norm=settings.norm, steepest=settings.steepest)
    return smooth(problem, settings, bases, "pgd", attack, steps + 2 * FORWARD)
