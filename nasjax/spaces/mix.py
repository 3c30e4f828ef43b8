"""Mixing weights: a supernet computes with them, architectures are read off them.

This module does not need jax. The leaves are jax arrays, traced or not, or numpy
arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from jax import Array


class Weights(NamedTuple):
    """Mixing weights of one cell type; every leaf has a leading axis [E].

    Attributes:
      ops: factors [E, O] of the operations of every edge.
      edges: factors [E] of the output of every edge (PC-DARTS' beta); None: 1.
      extra: further inputs of the edges' forward pass, a pytree whose leaves have a
        leading axis [E]; None: no inputs.
    """

    ops: Array
    edges: Array | None = None
    extra: Any = None


Mix = dict[str, Weights]  # cell type -> Weights


def strength(weights: Weights) -> Array:
    """The weights [E, O] that architectures are read off: ops times edges.

    >>> import numpy as np
    >>> strength(Weights(np.array([[0.5, 0.5], [0.2, 0.8]]), np.array([2, 1]))).tolist()
    [[1.0, 1.0], [0.2, 0.8]]
    """
    ops, edges, _ = weights
    return ops if edges is None else ops * edges[:, None]
