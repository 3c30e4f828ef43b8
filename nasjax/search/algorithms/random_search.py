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

import jax
import jax.numpy as jnp

from nasjax.core.errors import UserError
from nasjax.search import relax
from nasjax.search.base import Problem, Search, SearchState, bilevel
from nasjax.search.directions import zero_order
from nasjax.search.losses import losses
from nasjax.spaces import CellSpace
from nasjax.zeroth import Proposal, ZerothOrder


def build(problem: Problem, settings) -> Search:
    """settings: every, samples."""
    if problem.relaxation is not relax.softmax:
        raise UserError(
            "random_search draws whole architectures, edges included, and cannot search "
            'edges first; set --config.space.edges to "pruned" or "fixed".'
        )
    sample = relax.uniform_architecture(problem.space)
    on = problem.split("candidates")
    ranking = losses(on, relax.identity)

    def objective(state: SearchState, arch, train_batches, val_batch):
        del train_batches
        return ranking.val(state.w, arch, val_batch)

    method = tournament(problem.space, settings.samples)
    direction = zero_order(on, "random_search", method, objective)
    return bilevel(
        problem,
        direction,
        problem.cadence(settings.every),
        sample,
        relax.identity,
        init_arch=lambda key: sample(None, key),
    )


def tournament(space: CellSpace, samples: int) -> ZerothOrder:
    """Propose the incumbent (row 0) and random architectures; keep the best."""
    sample = relax.uniform_architecture(space)

    def propose(state, arch, key, guide=None) -> Proposal:
        del state, guide
        drawn = jax.vmap(lambda k: sample(None, k))(jax.random.split(key, samples))
        rows = jax.tree.map(lambda a, d: jnp.concatenate([a[None], d]), arch, drawn)
        return Proposal(rows, None)

    def update(state, arch, proposal: Proposal, measured):
        del arch
        measured = jnp.where(jnp.isfinite(measured), measured, jnp.inf)
        best = jnp.argmin(measured)
        metrics = {"incumbent_loss": measured[0], "best_loss": measured[best]}
        return jax.tree.map(lambda r: r[best], proposal.candidates), state, metrics

    return ZerothOrder(lambda arch, key: (), propose, update, samples + 1)
