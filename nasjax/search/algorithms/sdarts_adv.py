"""SDARTS-ADV: SmoothDARTS with adversarial perturbations.

Chen and Hsieh, arXiv 2002.05283, section 3.3; `sdarts` has the method.

    delta <- P(delta + lr sign(grad_delta L_train(w, A + delta))), 7 times   (eq. 4)

on the batch of the weight step, with the network in evaluation mode.

Deviations: eq. 4 prints the gradient, but the released code takes its sign. The default
follows the code; `steepest = False` follows the equation. For other deviations see
`nasjax.search.perturb`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nasjax.core.limits import at_least, one_of
from nasjax.search import perturb
from nasjax.search.algorithms import sdarts
from nasjax.search.base import Algorithm
from nasjax.search.directions import FORWARD


def settings(scale: str) -> dict[str, Any]:
    """The default settings of `sdarts` and of the attack."""
    del scale
    return sdarts.SETTINGS | {
        "attack_steps": 7,  # steps of projected gradient ascent; each of 2 eps / steps
        "norm": "linf",  # norm of the ball; or "l2"
        "steepest": True,  # sign of the gradient; False: the gradient, as in eq. 4
    }


LIMITS = sdarts.LIMITS | {
    "attack_steps": at_least(1),
    "norm": one_of("linf", "l2"),
}


def build(settings, base: Algorithm) -> Algorithm:
    """Smoothing by adversarial perturbations."""
    steps = settings.attack_steps

    def attack(project: Callable):
        norm, steepest = settings.norm, settings.steepest
        return perturb.pgd(steps, norm=norm, steepest=steepest, project=project)

    cost = steps + 2 * FORWARD
    return base._replace(smoothing=sdarts.smoothing(settings, "pgd", attack, cost))
