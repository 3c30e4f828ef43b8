"""Zero-order optimisation of any objective over any pytree. Imports nothing but jax.

A method is a `ZerothOrder`; the caller evaluates the candidates in between, vmapped:

    proposal = method.propose(state, x, key, guide)
    losses = jax.vmap(objective)(proposal.candidates)
    x, state, metrics = method.update(state, x, proposal, losses)
"""

from nasjax.zeroth.base import Proposal, ZerothOrder
from nasjax.zeroth.lookahead import lookahead
from nasjax.zeroth.mgs import importance_weights, mgs

__all__ = ["Proposal", "ZerothOrder", "importance_weights", "lookahead", "mgs"]
