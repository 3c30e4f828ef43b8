"""DARTS, second order: alpha descends the validation loss after one weight step.

Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019,
arXiv 1806.09055, eq. 7: with w' the weights after the step that SGD would take now,

    w' = w - xi (mu b + grad_w L_train(w, alpha) + lambda w)
    alpha <- Adam(alpha, d L_val(w'(alpha), alpha) / d alpha),    then
    w     <- SGD(w, grad_w L_train(w, alpha))

with xi the current learning rate, b the live momentum buffer, lambda the weight decay.

Deviations:
  * The second-order term is an exact product (`hypergrad.unrolled`). `finite_difference`
    takes eq. 8 instead, as the authors' code does.
  * None known in the virtual step: as in the authors' code it has momentum and weight
    decay and does not clip, though the real step does.
  * The running statistics of batch norm are not touched by the virtual step.
"""

from __future__ import annotations

from nasjax import hypergrad
from nasjax.engine import optim
from nasjax.search.base import Problem, Search, bilevel
from nasjax.search.directions import gradient
from nasjax.search.losses import losses


def build(problem: Problem, settings) -> Search:
    """settings: every, finite_difference, rate, b1, b2, weight_decay (alpha's Adam)."""
    supernet = losses(problem)
    virtual = problem.sgd(problem.rate, clip=False)  # takes the live state
    exact, twin = hypergrad.unrolled, hypergrad.finite_difference.unrolled
    unrolled = twin if settings.finite_difference else exact
    estimator = unrolled(supernet.train, supernet.val, virtual)
    adam = optim.adam(settings.rate, settings.b1, settings.b2, settings.weight_decay)
    return bilevel(problem, gradient(estimator, adam), problem.cadence(settings.every))
