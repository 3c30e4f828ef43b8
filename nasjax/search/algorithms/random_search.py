"""Random search with weight sharing.

Li and Talwalkar, "Random Search and Reproducibility for Neural Architecture Search",
UAI 2019, arXiv 1902.07638: every weight step trains one architecture drawn uniformly
from the space; then random architectures are ranked with the shared weights.

alpha is the best architecture so far, one-hot. An architecture step draws N more and
keeps the best of them and the incumbent on one validation batch.

Deviations: the ranking goes on while the weights train, as a tournament in which the
incumbent is measured again on every batch, so that all algorithms share one loop; the
paper ranks 1000 architectures once, at the end.
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
    """Settings of the tournament."""
    return {
        "every": 4,  # weight steps between two rounds of the tournament
        # Architectures drawn in a round; 47: as many gradients as DARTS' second order.
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
    """Propose the incumbent (row 0) and random architectures; keep the best."""

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
