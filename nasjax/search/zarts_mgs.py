"""ZARTS with maximum-likelihood guided parameter search (MGS).

Wang et al., "ZARTS: On Zero-order Optimization for Neural Architecture Search",
NeurIPS 2022, Algorithm 1 and section 4.2:

    u_i ~ q,  w_i = M steps of SGD on L_train(., alpha + u_i) from w,   i = 1..N
    alpha <- alpha + sum_i c_i u_i / sum_j c_j,
    c_i = exp(-L_val(w_i, alpha + u_i) / tau) / q(u_i)                       (eq. 8)

The proposal q is centred at minus the first-order gradient on the same validation
batch; its spread decays to 0 by a cosine after warm-up; see `nasjax.zeroth.mgs`.

Deviations:
  * Candidates really train: each starts from the current w with a fresh optimiser on
    training batches shared by all (Algorithm 1). The released code hands the main
    net's optimiser to the candidates, so that theirs never move, and takes the inner
    batches from the validation half.
  * The inner learning rate is the current one of w (`inner_rate = 0`), on which the
    paper is silent; the released code's landscape script uses 0.001.
  * The configs weigh by `likelihood`, c_i without 1 / q(u_i), as the released code in
    effect ran; `importance` is the equation above (why: `nasjax.zeroth.mgs`).
  * Inner batches are as large as all others (the code: 48, with 64 elsewhere).
  * The paper does not say how often alpha moves; as in the code, every M weight steps.
"""

from __future__ import annotations

import jax.numpy as jnp

from nasjax import hypergrad
from nasjax.search.base import Problem, Search, SearchState, bilevel, losses
from nasjax.search.directions import zero_order
from nasjax.zeroth import lookahead, mgs


def build(problem: Problem, settings) -> Search:
    """settings: every, samples, inner_steps, inner_rate, spread, temperature, mixture,
    weights, chunk."""
    supernet = losses(problem)
    cadence = problem.cadence(settings.every)
    steps = problem.epochs * problem.steps_per_epoch - cadence.warmup
    updates = max(steps // cadence.every, 1)

    def spread(count):
        return settings.spread / 2 * (1 + jnp.cos(jnp.pi * count / updates))

    def objective(state: SearchState, arch, train_batches, val_batch):
        rate = settings.inner_rate or problem.rate(state.step)
        inner = lookahead(supernet.train, supernet.val, problem.sgd(rate))
        return inner(arch, state.w, train_batches, val_batch)

    method = mgs(
        settings.samples,
        spread,
        settings.temperature,
        settings.mixture,
        settings.weights,
    )
    direction = zero_order(
        f"mgs_{settings.weights}",
        method,
        objective,
        settings.samples,
        settings.inner_steps,
        hypergrad.first_order(supernet.val),
        settings.chunk,
    )
    return bilevel(problem, direction, cadence)
