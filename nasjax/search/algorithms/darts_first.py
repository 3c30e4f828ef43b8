"""DARTS, first order: alpha descends the validation loss with w held fixed.

Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019,
arXiv 1806.09055, section 2.3 with xi = 0:

    alpha <- Adam(alpha, grad_alpha L_val(w, alpha)),    then
    w     <- SGD(w, grad_w L_train(w, alpha))

Deviations: none known. As in the authors' code alpha moves before w, on a fresh
validation batch, and both passes use the moments of their batch in batch norm.
"""

from __future__ import annotations

from nasjax import hypergrad
from nasjax.engine import optim
from nasjax.search.base import Problem, Search, bilevel
from nasjax.search.directions import gradient
from nasjax.search.losses import losses


def build(problem: Problem, settings) -> Search:
    """settings: every, rate, b1, b2, weight_decay (of alpha's Adam)."""
    estimator = hypergrad.first_order(losses(problem).val)
    adam = optim.adam(settings.rate, settings.b1, settings.b2, settings.weight_decay)
    return bilevel(problem, gradient(estimator, adam), problem.cadence(settings.every))
