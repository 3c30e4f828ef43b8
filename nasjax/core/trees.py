"""Pytrees of arrays as vectors."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from nasjax.core import arguments


def ravel(x, name: str = "x") -> tuple[Array, Callable]:
    """x as one vector [d], and a function that restores its structure and dtypes.

    The vector is float64 if a leaf is, else float32: directions and densities of
    half-precision leaves are computed in single precision.

    >>> flat, unravel = ravel({"a": jnp.ones(2, jnp.bfloat16), "b": jnp.zeros(1)})
    >>> flat.dtype.name, unravel(flat)["a"].dtype.name
    ('float32', 'bfloat16')
    """
    arguments.floating(x, name)
    dtype = widest(*map(jnp.result_type, jax.tree.leaves(x)))
    flat, unravel = ravel_pytree(jax.tree.map(lambda a: jnp.asarray(a, dtype), x))
    cast = lambda a, like: a.astype(jnp.result_type(like))
    return flat, lambda vector: jax.tree.map(cast, unravel(vector), x)


def widest(*dtypes):
    return jnp.float64 if jnp.float64 in dtypes else jnp.float32
