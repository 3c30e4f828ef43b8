"""Mixing weights: what a supernet computes with and architectures are read off.

Nothing here needs jax; the leaves are its arrays, traced or not, or numpy's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jax import Array


class Weights(NamedTuple):
    """Mixing weights of one cell type; every leaf leads with [E].

    Attributes:
      ops: [E, O], multiply the operations of every edge.
      edges: [E], scales the whole output of an edge (PC-DARTS' beta); None: 1.
      extra: what else an edge's forward pass needs, a pytree whose leaves lead with
        [E]; None: nothing.
    """

    ops: Array
    edges: Array | None = None
    extra: Any = None


Mix = dict[str, Weights]  # cell type -> Weights


def strength(weights: Weights) -> Array:
    """The weights [E, O] by which architectures are read: those of ops times edges.

    >>> import numpy as np
    >>> strength(Weights(np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([2, 1]))).tolist()
    [[1.0, 1.0], [0.2, 0.8]]
    """
    ops, edges, _ = weights
    return ops if edges is None else ops * edges[:, None]
