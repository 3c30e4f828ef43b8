"""SDARTS-ADV: SmoothDARTS with adversarial perturbations.

Chen and Hsieh, arXiv 2002.05283, section 3.3; what both share is in `sdarts`.

    delta <- P(delta + lr sign(grad_delta L_train(w, A + delta))), 7 times   (eq. 4)

on the batch of the weight step, by the network in evaluation mode.

Deviations: eq. 4 prints the gradient where the released code takes its sign; this is
the code's, `steepest = False` the equation's. Others: see `nasjax.search.perturb`.
"""

from __future__ import annotations

from typing import Any

from nasjax.core.limits import at_least, one_of
from nasjax.search import perturb
from nasjax.search.algorithms import sdarts
from nasjax.search.base import Algorithm
from nasjax.search.directions import FORWARD


def settings(scale: str) -> dict[str, Any]:
    """Those of `sdarts` and of the attack."""
    del scale
    return sdarts.SETTINGS | {
        "attack_steps": 7,  # of projected gradient ascent, of 2 eps / 7 each
        "norm": "linf",  # of the ball: or "l2"
        "steepest": True,  # by the sign of the gradient; False: by itself, as eq. 4
    }


LIMITS = sdarts.LIMITS | {
    "attack_steps": at_least(1),
    "norm": one_of("linf", "l2"),
}


def build(settings, base: Algorithm) -> Algorithm:
    """Smoothing by attacks."""
    steps = settings.attack_steps

    def attack(project: bool):
        norm, steepest = settings.norm, settings.steepest
        return perturb.pgd(steps, norm=norm, steepest=steepest, project=project)

    cost = steps + 2 * FORWARD
    return base._replace(smoothing=sdarts.smoothing(settings, "pgd", attack, cost))
