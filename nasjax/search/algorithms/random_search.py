"""Random search with weight sharing.

Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search",
UAI 2019, arXiv 1902.07638: every weight step trains one architecture drawn uniformly
from the space; then random architectures are ranked with the shared weights.

alpha is the best architecture so far (the incumbent), one-hot. An architecture step
draws N more architectures and keeps the best of them and the incumbent, measured on one
validation batch.

Deviations: architectures are ranked while the weights train, in a tournament that
measures the incumbent again on every batch. The paper ranks 1000 architectures once, at
the end. With the tournament all algorithms share one loop.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from nasjax.core.limits import Limit, at_least
from nasjax.search.base import Algorithm, SearchState
from nasjax.search.bilevel import Bilevel
from nasjax.search.directions import zero_order
from nasjax.search.relax import uniform
from nasjax.spaces import CellSpace
from nasjax.spaces.rules import draw
from nasjax.zeroth import Proposal, ZerothOrder


def settings(scale: str) -> dict[str, Any]:
    """The default settings of the tournament."""
    return {
        "every": 4,  # weight steps between two rounds of the tournament
        # Architectures drawn in a round; 47 cost the gradients of second-order DARTS.
        "samples": 47 if scale == "small" else 16,
    }


LIMITS: dict[str, Limit] = {
    "every": at_least(1),
    "samples": at_least(1),
}


def build(settings, base: Algorithm) -> Algorithm:
    """Random search with weight sharing."""

    def direction(problem: Bilevel):
        on = problem.split("candidates")

        def objective(state: SearchState, arch, train_batches, val_batch):
            del train_batches
            at = val_batch["at"]._replace(key=None)
            return on.val(state.w, arch, val_batch | {"at": at})

        method = tournament(problem.space, settings.samples)
        return zero_order(on, "random_search", method, objective)

    return base._replace(direction=direction, relaxation=uniform, every=settings.every)


def tournament(space: CellSpace, samples: int) -> ZerothOrder:
    """Proposes the incumbent (row 0) and random architectures; keeps the best."""

    def propose(state, arch, key, guide=None) -> Proposal:
        del state, guide
        drawn = jax.vmap(lambda k: draw(k, space))(jax.random.split(key, samples))
        rows = jax.tree.map(lambda a, d: jnp.concatenate([a[None], d]), arch, drawn)
        return Proposal(rows, None)

    def update(state, arch, proposal: Proposal, measured):
        del arch
        measured = jnp.where(jnp.isfinite(measured), measured, jnp.inf)
        best = jnp.argmin(measured)
        metrics = {"incumbent_loss": measured[0], "best_loss": measured[best]}
        return jax.tree.map(lambda r: r[best], proposal.candidates), state, metrics

    return ZerothOrder(lambda arch, key: (), propose, update, samples + 1)
