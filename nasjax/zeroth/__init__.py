"""Zero-order optimisation of any objective over any pytree. Imports nothing but jax.

A method is a `ZerothOrder`. The caller evaluates its candidates, vmapped:

    proposal = method.propose(state, x, key, guide)
    losses = jax.vmap(objective)(proposal.candidates)
    x, state, metrics = method.update(state, x, proposal, losses)

`minimise` runs this loop. The last column is the number of losses of an update, where
n is `samples`:

| method | where x goes | losses |
|---|---|---|
| `random_search` | down a gradient estimated by finite differences | 2 n, or n + 1 |
| `mgs` | to the mean under exp(-L / tau), estimated from a proposal | n |
| `gld` | to the best of x and one draw for each radius of a ladder | log2(R / r) + 2 |
"""

from nasjax.zeroth.base import Proposal, State, ZerothOrder
from nasjax.zeroth.gld import gld
from nasjax.zeroth.lookahead import lookahead
from nasjax.zeroth.mgs import importance_weights, mgs
from nasjax.zeroth.minimise import minimise
from nasjax.zeroth.random_search import gradient_estimate, random_search

__all__ = [
    "Proposal",
    "State",
    "ZerothOrder",
    "gld",
    "gradient_estimate",
    "importance_weights",
    "lookahead",
    "mgs",
    "minimise",
    "random_search",
]
