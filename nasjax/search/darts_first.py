"""DARTS, first order: alpha descends the validation loss with w held fixed.

Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019,
arXiv 1806.09055, section 2.3 with xi = 0:

    alpha <- Adam(alpha, grad_alpha L_val(w, alpha)),    then
    w     <- SGD(w, grad_w L_train(w, alpha))

Deviations: none known. As in the authors' code alpha moves before w, on a fresh
validation batch, and both passes use the moments of their batch in batch norm.
"""

from __future__ import annotations

from nasjax import hypergrad, optim, relax
from nasjax.search.base import Problem, Search, bilevel, losses
from nasjax.search.directions import gradient


def build(problem: Problem, settings) -> Search:
    """settings: every, rate, b1, b2, weight_decay (of alpha's Adam)."""
    supernet = losses(problem, relax.softmax)
    optimizer = optim.adam(
        settings.rate, settings.b1, settings.b2, settings.weight_decay
    )
    direction = gradient(hypergrad.first_order(supernet.loss), optimizer)
    cadence = problem.cadence(settings.every)
    return bilevel(problem, supernet, direction, relax.softmax, cadence)
