"""Amended-DARTS: the implicit hypergradient with eta H instead of H^-1.

Bi, Hu, Xie, Chen, Wei, Tian, "Stabilizing DARTS with Amended Gradient Estimation on
Architectural Parameters", arXiv 1910.11831, eq. 5. At the current w, with H the
Hessian of L_train in w,

    alpha <- Adam(alpha, grad_alpha L_val - eta D_alpha,w L_train . H . grad_w L_val)

The other methods of the paper are options of every search: `config.search.auxiliary`,
`drop_path`, `cutout`, `cells` and `channels` make search and retraining consistent
(section 2.4), `config.space.edges` fixes or searches the edges (section 3.1.2, eq. 16),
`config.space.share` is False in the paper's space S2.

Deviations:
  * The products are exact (`hypergrad.implicit` with `amended`); `finite_difference`
    takes eqs. 14 and 15 instead, as the paper does.
  * As in the paper's equations, weight decay and momentum are not part of L_train, and
    the gradients are taken at w, not after a virtual step.
  * The paper claims that the amending term has the sign of the exact term. The claim
    holds if the matrices commute, not in general; see docs/hypergradients.md.
  * L_val is the loss of the classifier; the loss of an auxiliary head is part of
    L_train only. The paper does not specify this.
"""

from __future__ import annotations

from typing import Any

from nasjax import hypergrad
from nasjax.core.limits import at_least
from nasjax.search.base import Algorithm
from nasjax.search.bilevel import Bilevel
from nasjax.search.directions import ADAM_LIMITS, Descent, adam, adam_settings


def settings(scale: str) -> dict[str, Any]:
    """The default settings of Adam and of the amending term."""
    return adam_settings(scale) | {
        "eta": 0.1,  # amending coefficient: eta H replaces the inverse of H
        "finite_difference": False,  # True: eqs. 14, 15 instead of exact products
    }


LIMITS = ADAM_LIMITS | {
    "eta": at_least(0.0),
}


def build(settings, base: Algorithm) -> Algorithm:
    """The amended direction."""

    def estimator(problem: Bilevel):
        if settings.finite_difference:
            return hypergrad.finite_difference.amended(
                problem.train, problem.val, settings.eta
            )
        inverse = hypergrad.amended(settings.eta)
        return hypergrad.implicit(problem.train, problem.val, inverse)

    direction = Descent(estimator, adam(settings))
    return base._replace(direction=direction, every=settings.every)
