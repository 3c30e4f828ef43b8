"""Maps [H, C, W, B] as networks hold them, and images [B, H, W, C] as tests write them."""

import jax.numpy as jnp

from nasjax.nets.lowering import to_map


def to_images(x):
    return jnp.transpose(x, (3, 0, 2, 1))


def on_images(f):
    """f of a map, as a function of images."""
    return lambda x, *rest: to_images(f(to_map(x), *rest))
