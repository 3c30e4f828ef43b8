"""ZARTS: alpha moved by a zero-order method, without the first-order approximation.

Wang et al., "ZARTS: On Zero-order Optimization for Neural Architecture Search",
NeurIPS 2022, arXiv 2110.04743, Algorithm 1. For every candidate the weights are trained
for M steps, and then discarded:

    L(alpha) = L_val(w_M(alpha), alpha),   w_M = M steps of SGD on L_train(., alpha) from w
    alpha <- alpha + phi({u_i}, {L(alpha + u_i)})

with phi the update of random search, MGS or GLD: `zarts_rs`, `zarts_mgs`, `zarts_gld`.

Deviations:
  * Each candidate starts from the current w with a new optimiser, and all candidates
    take the same batches. The released code gives the optimiser of the main network to
    the candidates, and so their weights never move.
  * Inner batches come from the training half, as in Algorithm 1; `inner_part = "arch"`
    takes them from the validation half, as the released code does. Inner batches have
    the size of all other batches (in that code 48 instead of 64).
  * The inner learning rate is the current learning rate of w (`inner_rate = 0`). The
    paper does not give it; the released landscape script uses 0.001. As in that script,
    gradients are clipped.
  * The paper does not specify how often alpha moves. As in the code, alpha moves every
    M weight steps.

Beyond the paper: a price without a derivative, such as the multiply-adds of the network
that alpha would be discretised to, may be part of the objective (`budget`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nasjax import hypergrad
from nasjax.core.limits import Limit, at_least, one_of
from nasjax.engine.devices import SPLITS
from nasjax.search.base import Algorithm, SearchState
from nasjax.search.bilevel import Bilevel, Training
from nasjax.search.directions import SHORT, zero_order
from nasjax.zeroth import ZerothOrder, lookahead


def settings(scale: str) -> dict[str, Any]:
    """The default settings that all ZARTS searches share."""
    steps = 4 if scale in SHORT else 10
    return {
        "every": steps,  # weight steps between two moves of alpha
        "inner_steps": steps,  # M, weight steps for which each candidate is trained
        "inner_rate": 0.0,  # learning rate of inner steps; 0: the current one of w
        "inner_part": "weights",  # half of the data for inner steps; or "arch"
        "chunk": 0,  # candidates a device evaluates at once; 0: one on a CPU, else all
        "split": "candidates",  # work that devices divide; or "batch"
    }


LIMITS: dict[str, Limit] = {
    "every": at_least(1),
    "inner_steps": at_least(0),
    "inner_rate": at_least(0.0),
    "inner_part": one_of("weights", "arch"),
    "chunk": at_least(0),
    "split": one_of(*SPLITS),
}


def zarts(
    settings,
    base: Algorithm,
    name: str,
    method: Callable[[Training], ZerothOrder],
    guided: bool = False,
) -> Algorithm:
    """ZARTS with a zero-order method.

    Args:
      settings: the fields every, inner_steps, inner_rate, inner_part, chunk and split.
      base: the rest of the search.
      name: name of the estimator.
      method: `Training` -> method of `nasjax.zeroth`.
      guided: True gives the method the first-order gradient on the same validation
        batch.
    """

    def direction(problem: Bilevel):
        on = problem.split(settings.split)
        training = on.training

        def objective(state: SearchState, arch, train_batches, val_batch):
            rate = settings.inner_rate or training.rate(state.step)
            inner = lookahead(on.train, on.val, training.optimizer(rate))
            return inner(arch, state.w, train_batches, val_batch)

        return zero_order(
            on,
            name,
            method(training),
            objective,
            settings.inner_steps,
            settings.inner_part,
            hypergrad.first_order(on.val) if guided else None,
            settings.chunk,
        )

    return base._replace(direction=direction, every=settings.every)
