"""Conversion between maps [H, C, W, B] of networks and images [B, H, W, C] of tests, and
comparison of trees."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from nasjax.nets.lowering import to_map


def to_images(x):
    return jnp.transpose(x, (3, 0, 2, 1))


def on_images(f):
    """f of a map, as a function of images."""
    return lambda x, *rest: to_images(f(to_map(x), *rest))


def same(found, expected):
    """Asserts that two trees are equal up to rounding in float64."""
    chex.assert_trees_all_close(found, expected, rtol=1e-11, atol=1e-10)


def stacked(results):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *results)
