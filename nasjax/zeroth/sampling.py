"""Spherically symmetric directions, drawn for each group of coordinates."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def group_sizes(x, groups: str) -> list[int]:
    """Number of coordinates of each group: "leaf", one group per leaf, or "joint", one.

    >>> x = {"normal": jnp.zeros((14, 7)), "reduce": jnp.zeros((14, 7))}
    >>> group_sizes(x, "leaf"), group_sizes(x, "joint")
    ([98, 98], [196])
    """
    sizes = [jnp.size(leaf) for leaf in jax.tree.leaves(x)]
    return sizes if groups == "leaf" else [sum(sizes)]


def normal(key: Array, count: int, sizes: Sequence[int], dtype) -> Array:
    """Draws [count, d] from N(0, I); the groups make no difference."""
    return jax.random.normal(key, (count, sum(sizes)), dtype)


def sphere(key: Array, count: int, sizes: Sequence[int], dtype) -> Array:
    """Draws [count, d]; the part of each group is uniform on its unit sphere.

    >>> u = sphere(jax.random.key(0), 1, [3, 2], jnp.float32)[0]
    >>> round(float(u[:3] @ u[:3]), 5), round(float(u[3:] @ u[3:]), 5)
    (1.0, 1.0)
    """
    noise = normal(key, count, sizes, dtype)
    parts = jnp.split(noise, list(itertools.accumulate(sizes))[:-1], axis=1)
    norms = [jnp.linalg.norm(part, axis=1, keepdims=True) for part in parts]
    tiny = jnp.finfo(dtype).tiny  # a single coordinate may be drawn as exactly 0
    return jnp.concatenate(
        [part / jnp.maximum(n, tiny) for part, n in zip(parts, norms, strict=True)], 1
    )


def ball(key: Array, count: int, sizes: Sequence[int], dtype) -> Array:
    """Draws [count, d]; the part of each group is uniform in its unit ball.

    The norm of a part is U^(1/d), where U is uniform on [0, 1].
    """
    sphere_key, radius_key = jax.random.split(key)
    uniform = jax.random.uniform(radius_key, (count, len(sizes)), dtype)
    norms = uniform ** jnp.asarray(1 / np.array([sizes]), dtype)
    group = np.repeat(np.arange(len(sizes)), sizes)
    return norms[:, group] * sphere(sphere_key, count, sizes, dtype)
