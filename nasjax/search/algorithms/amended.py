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
  * As in the paper, one training batch gives both D and H. The mean of their
    product then has the covariance of the two in it; `two_batches` takes H of one
    training batch and D of another, drawn independently, so that the mean over pairs of
    batches is the product of the means. Both cost the same.
  * As in the paper's equations, weight decay and momentum are not part of L_train, and
    the gradients are taken at w, not after a virtual step.
  * The paper claims that the amending term has the sign of the exact term. The claim
    holds if the matrices commute, not in general; see docs/hypergradients.md.
  * L_val is the loss of the classifier; the loss of an auxiliary head is part of
    L_train only. The paper does not specify this.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

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
        "two_batches": False,  # True: H of one training batch, D of another
    }


LIMITS = ADAM_LIMITS | {
    "eta": at_least(0.0),
}


def build(settings, base: Algorithm) -> Algorithm:
    """The amended direction."""

    def estimator(problem: Bilevel):
        train, curvature = problem.train, hypergrad.hvp
        if settings.two_batches:
            train, curvature = on_two(train, settings.finite_difference)
        if settings.finite_difference:
            found = hypergrad.finite_difference.amended(
                train, problem.val, settings.eta
            )
            name = f"{found.name}_two_batches" if settings.two_batches else found.name
            return dataclasses.replace(found, name=name)
        inverse = hypergrad.amended(settings.eta)
        return hypergrad.implicit(train, problem.val, inverse, curvature)

    batches = 2 if settings.two_batches else 1
    direction = Descent(estimator, adam(settings), batches=batches)
    return base._replace(direction=direction, every=settings.every)


def on_two(train: Callable, differences: bool) -> tuple[Callable, Callable]:
    """A training loss of a pair of batches, and its curvature in w.

    `implicit` takes D from the loss and H from the curvature. The finite differences
    take H from the slope of the loss in w, and D from its slope in arch.

    Args:
      train: (w, arch, batch) -> scalar.
      differences: True if the loss is for finite differences.
    """
    of = lambda index, pair: jax.tree.map(lambda leaf: leaf[index], pair)

    def loss(w, arch, pair):
        if not differences:
            return train(w, arch, of(1, pair))
        fixed = jax.lax.stop_gradient
        return train(w, fixed(arch), of(0, pair)) + train(fixed(w), arch, of(1, pair))

    def two_batches(loss, w, arch, pair, v):
        del loss
        return hypergrad.hvp(train, w, arch, of(0, pair), v)

    return loss, two_batches
