"""Relaxations: from raw architecture parameters to mixing weights.

A relaxation is a function (arch, key) -> mix. Both are dictionaries by cell type; the
mixing weights of a type have shape [E, O] and multiply the primitives of every edge.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nasjax.spaces import CellSpace

Arch = dict[str, Array]
Mix = dict[str, Array]
Relaxation = Callable[[Any, Any], Mix]  # (arch, key) -> mix


def softmax(arch: Arch, key: Array | None = None) -> Mix:
    """Softmax over the operator axis (DARTS eq. 2). No randomness: the key is unused.

    >>> softmax({"normal": jnp.zeros((1, 4))})["normal"].tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    del key
    return jax.tree.map(lambda a: jax.nn.softmax(a, axis=-1), arch)


def identity(arch: Arch, key: Array | None = None) -> Mix:
    """The architecture parameters are the mixing weights."""
    del key
    return arch


def uniform_architecture(space: CellSpace) -> Relaxation:
    """One-hot mixing weights of an architecture drawn uniformly; arch is not read.

    Every node keeps `picks` distinct incoming edges, every kept edge one primitive
    other than `none` (random search of the DARTS space).
    """
    targets = np.array([target for _, target in space.edges])
    allowed = np.array([name != "none" for name in space.primitives])

    def sample(key: Array) -> Array:
        edge_key, op_key = jax.random.split(key)
        rank = jax.random.uniform(edge_key, targets.shape)
        ahead = (rank[None, :] > rank[:, None]) & (targets[None] == targets[:, None])
        kept = ahead.sum(1) < space.picks
        logits = jnp.where(allowed, 0.0, -jnp.inf)
        ops = jax.random.categorical(op_key, logits, shape=targets.shape)
        return kept[:, None] * jax.nn.one_hot(ops, len(space.primitives))

    def relaxation(arch: Arch | None, key: Array) -> Mix:
        del arch
        keys = jax.random.split(key, len(space.types))
        return {kind: sample(k) for kind, k in zip(space.types, keys, strict=True)}

    return relaxation
