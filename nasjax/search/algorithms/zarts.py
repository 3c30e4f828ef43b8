"""ZARTS: alpha moved by a zero-order method, without the first-order approximation.

Wang et al., "ZARTS: On Zero-order Optimization for Neural Architecture Search",
NeurIPS 2022, arXiv 2110.04743, Algorithm 1. For every candidate the weights are really
trained, and then thrown away:

    L(alpha) = L_val(w_M(alpha), alpha),   w_M = M steps of SGD on L_train(., alpha) from w
    alpha <- alpha + phi({u_i}, {L(alpha + u_i)})

with phi that of random search, MGS or GLD: `zarts_rs`, `zarts_mgs`, `zarts_gld`.

Deviations:
  * Each candidate starts from the current w with a fresh optimiser, on batches shared by
    all. The released code hands the main net's optimiser to the candidates, so that
    their weights never move.
  * Inner batches come from the training half, as Algorithm 1 says; `inner_part = "arch"`
    takes them from the validation half, as that code does. They are as large as all
    others (there 48, with 64 elsewhere).
  * The inner learning rate is the current one of w (`inner_rate = 0`), on which the
    paper is silent; the released landscape script uses 0.001. Like there, gradients
    are clipped.
  * The paper does not say how often alpha moves; as in the code, every M weight steps.

Beyond the paper: a price without a derivative, such as the multiply-adds of the network
that alpha would be discretised to, may be part of the objective (`nasjax.search.price`).
"""

from __future__ import annotations

from nasjax import hypergrad
from nasjax.search.base import Problem, Search, SearchState, bilevel
from nasjax.search.directions import zero_order
from nasjax.search.losses import losses
from nasjax.zeroth import ZerothOrder, lookahead


def zarts(
    problem: Problem, settings, name: str, method: ZerothOrder, guided: bool = False
) -> Search:
    """The search with this method.

    Args:
      problem: the supernet.
      settings: every, inner_steps, inner_rate, inner_part, chunk, split.
      name: of the estimator.
      method: see `nasjax.zeroth`.
      guided: hand it the first-order gradient on the same validation batch.
    """
    on = problem.split(settings.split)
    supernet = losses(on)

    def objective(state: SearchState, arch, train_batches, val_batch):
        rate = settings.inner_rate or on.rate(state.step)
        inner = lookahead(supernet.train, supernet.val, on.sgd(rate))
        loss = inner(arch, state.w, train_batches, val_batch)
        return loss if on.price is None else loss + on.price.excess(arch)

    direction = zero_order(
        on,
        name if on.price is None else f"{name}_priced",
        method,
        objective,
        settings.inner_steps,
        settings.inner_part,
        hypergrad.first_order(supernet.val) if guided else None,
        settings.chunk,
        settings.split,
    )
    return bilevel(problem, direction, problem.cadence(settings.every))
