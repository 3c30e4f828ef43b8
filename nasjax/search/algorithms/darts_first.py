"""DARTS, first order: alpha descends the validation loss with w held fixed.

Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019,
arXiv 1806.09055, section 2.3 with xi = 0:

    alpha <- Adam(alpha, grad_alpha L_val(w, alpha)),    then
    w     <- SGD(w, grad_w L_train(w, alpha))

Deviations: none known. As in the authors' code, alpha moves before w, on a new
validation batch, and in both passes batch norm uses the moments of the batch.
"""

from __future__ import annotations

from nasjax import hypergrad
from nasjax.search.base import Algorithm
from nasjax.search.directions import ADAM_LIMITS, Descent, adam, adam_settings

settings = adam_settings


LIMITS = ADAM_LIMITS


def build(settings, base: Algorithm) -> Algorithm:
    """The first-order direction."""
    direction = Descent(
        lambda problem: hypergrad.first_order(problem.val), adam(settings), order=1
    )
    return base._replace(direction=direction, every=settings.every)
