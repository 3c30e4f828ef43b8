"""Randomness: typed keys, derived by name from one seed."""

from __future__ import annotations

import zlib

import jax
from jax import Array


def derive(key: Array, name: str, *indices: int | Array) -> Array:
    """A key derived from `key` by purpose and by indices, such as a step.

    The given key is not consumed.

    >>> key = jax.random.key(0)
    >>> bool(derive(key, "data", 3) == derive(key, "data", 3))
    True
    >>> bool(derive(key, "data", 3) == derive(key, "init", 3))
    False
    """
    for number in (zlib.crc32(name.encode()), *indices):
        key = jax.random.fold_in(key, number)
    return key


def per_example(key: Array, batch: int) -> Array:
    """Keys [batch]: one per example, derived from its index in the global batch."""
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(
        jax.numpy.arange(batch)
    )
