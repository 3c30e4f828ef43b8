"""ZARTS with maximum-likelihood guided parameter search (MGS).

Wang et al., arXiv 2110.04743, section 4.2; `zarts` has the parts that all ZARTS share.

    u_i ~ q,   alpha <- alpha + sum_i c_i u_i / sum_j c_j,
    c_i = exp(-L(alpha + u_i) / tau) / q(u_i)                                (eq. 8)

The proposal q is centred at minus the first-order gradient on the same validation
batch; its spread decays to 0 by a cosine after warm-up; see `nasjax.zeroth.mgs`.

Deviations:
  * The configs use the weights `likelihood`, c_i without 1 / q(u_i), as the released
    code in effect did. `importance` is the equation above; `nasjax.zeroth.mgs` gives
    the reason.
  * The proposal is the mixture of the paper's text; `proposal = "sum"` is the proposal
    of the released code.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from nasjax.core.limits import Range, above, at_least, one_of
from nasjax.search.algorithms import zarts
from nasjax.search.base import Algorithm
from nasjax.search.bilevel import Training
from nasjax.search.directions import SHORT
from nasjax.zeroth import ZerothOrder, mgs


def settings(scale: str) -> dict[str, Any]:
    """The default settings of `zarts` and of MGS."""
    small = scale in SHORT
    return zarts.settings(scale) | {
        "samples": 4,  # N, candidates of one move
        "spread": 0.1 if small else 0.025,  # standard deviation of q, cosine to 0
        "temperature": 1e-3 if small else 0.01,  # tau, in units of the loss
        "mixture": 1e-3,  # share of candidates drawn around 0, not around -gradient
        "proposal": "mixture",  # or "sum", as the released code draws
        "weights": "likelihood",  # or "importance", the printed eq. 8
    }


LIMITS = zarts.LIMITS | {
    "samples": at_least(1),
    "spread": at_least(0.0),
    "temperature": above(0.0),
    "mixture": Range(0.0, 1.0, closed=True),
    "proposal": one_of("mixture", "sum"),
    "weights": one_of("importance", "likelihood"),
}


def build(settings, base: Algorithm) -> Algorithm:
    """ZARTS-MGS."""

    def method(training: Training) -> ZerothOrder:
        steps = (training.epochs - training.warmup_epochs) * training.steps_per_epoch
        updates = jnp.maximum(steps // settings.every, 1)

        def spread(count):
            return settings.spread / 2 * (1 + jnp.cos(jnp.pi * count / updates))

        return mgs(
            settings.samples,
            spread,
            settings.temperature,
            settings.mixture,
            settings.weights,
            proposal=settings.proposal,
        )

    name = f"mgs_{settings.weights}"
    return zarts.zarts(settings, base, name, method, guided=True)
