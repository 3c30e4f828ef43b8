"""DARTS, second order: alpha descends the validation loss after one weight step.

Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019,
arXiv 1806.09055, eq. 7: with w' the weights after the step that SGD would take now,

    w' = w - xi (mu b + grad_w L_train(w, alpha) + lambda w)
    alpha <- Adam(alpha, d L_val(w'(alpha), alpha) / d alpha),    then
    w     <- SGD(w, grad_w L_train(w, alpha))

with xi the current learning rate, b the current momentum buffer, lambda the weight
decay.

Deviations:
  * The second-order term is an exact product (`hypergrad.unrolled`).
    `finite_difference` takes eq. 8 instead, as the authors' code does.
  * None known in the virtual step. As in the authors' code, the virtual step has
    momentum and weight decay and does not clip the gradient; the real step clips it.
    The authors' code is that of the last version of github.com/quark0/darts. Its first
    version, commit 8876e79, differs in three points: it clips the gradient of alpha to
    norm 10, adds lambda w' to grad_w' L_val, and takes the differences of eq. 8 around
    w' instead of w.
  * The virtual step does not change the running statistics of batch norm.
"""

from __future__ import annotations

from typing import Any

from nasjax import hypergrad
from nasjax.search.base import Algorithm
from nasjax.search.bilevel import Bilevel
from nasjax.search.directions import ADAM_LIMITS, Descent, adam, adam_settings


def settings(scale: str) -> dict[str, Any]:
    """The default settings of Adam and of the second derivatives."""
    return adam_settings(scale) | {
        "finite_difference": False,  # True: eq. 8 instead of the exact product
    }


LIMITS = ADAM_LIMITS


def build(settings, base: Algorithm) -> Algorithm:
    """The second-order direction."""

    def estimator(problem: Bilevel):
        training = problem.training
        virtual = training.optimizer(training.rate, clip=False)  # for the current state
        exact, twin = hypergrad.unrolled, hypergrad.finite_difference.unrolled
        unrolled = twin if settings.finite_difference else exact
        return unrolled(problem.train, problem.val, virtual)

    differences = settings.finite_difference
    direction = Descent(estimator, adam(settings), 2, differences)
    return base._replace(direction=direction, every=settings.every)
