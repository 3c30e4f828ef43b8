"""ZARTS with maximum-likelihood guided parameter search (MGS).

Wang et al., arXiv 2110.04743, section 4.2; what all ZARTS share is in `zarts`.

    u_i ~ q,   alpha <- alpha + sum_i c_i u_i / sum_j c_j,
    c_i = exp(-L(alpha + u_i) / tau) / q(u_i)                                (eq. 8)

The proposal q is centred at minus the first-order gradient on the same validation
batch; its spread decays to 0 by a cosine after warm-up; see `nasjax.zeroth.mgs`.

Deviations:
  * The configs weigh by `likelihood`, c_i without 1 / q(u_i), as the released code in
    effect ran; `importance` is the equation above (why: `nasjax.zeroth.mgs`).
  * The proposal is the mixture of the text; `proposal = "sum"` is that code's.
"""

from __future__ import annotations

import jax.numpy as jnp

from nasjax.search.algorithms.zarts import zarts
from nasjax.search.base import Problem, Search
from nasjax.zeroth import mgs


def build(problem: Problem, settings) -> Search:
    """settings: samples, spread, temperature, mixture, proposal, weights; `zarts`'."""
    cadence = problem.cadence(settings.every)
    steps = problem.epochs * problem.steps_per_epoch - cadence.warmup
    updates = jnp.maximum(steps // cadence.every, 1)

    def spread(count):
        return settings.spread / 2 * (1 + jnp.cos(jnp.pi * count / updates))

    method = mgs(
        settings.samples,
        spread,
        settings.temperature,
        settings.mixture,
        settings.weights,
        proposal=settings.proposal,
    )
    return zarts(problem, settings, f"mgs_{settings.weights}", method, guided=True)
