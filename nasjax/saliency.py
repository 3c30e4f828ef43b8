"""Saliency maps by adversarial attack, and images reweighted by them.

Hosseini and Xie, "Saliency-Aware Neural Architecture Search", NeurIPS 2022, after
Madry et al., arXiv 1706.06083: an image's saliency is the perturbation delta,
|delta| <= eps, that changes a network's output f most,

    delta* = argmax l(f(x + delta), f(x)).

This module needs jax alone. Images x [B, H, W, C] are normalised by the mean and
standard deviation of each channel, as networks take them. delta is in units of pixels
in [0, 1], whatever the normalisation, and x + delta stays between black and white.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nasjax.core import arguments
from nasjax.core.keys import derive

MODES = ("signed", "absolute", "scaled")


class Attack(NamedTuple):
    """Projected gradient ascent in the l_inf ball (Table 7).

    Attributes:
      steps: number of steps.
      eps: radius of the ball, in units of pixels.
      step: length of a step in every pixel, in units of pixels.
      mean: mean of the pixels per channel, subtracted from the images.
      std: standard deviation per channel, by which the images are divided.
    """

    steps: int = 7
    eps: float = 8 / 255
    step: float = 2 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


def perturbed(images: Array, delta: Array, attack: Attack) -> Array:
    """x + delta, normalised as x is."""
    return images + delta / _row(attack.std, images)


def into_range(images: Array, delta: Array, attack: Attack) -> Array:
    """delta clipped to the ball and to a range where x + delta is in [0, 1]."""
    std, mean = _row(attack.std, images), _row(attack.mean, images)
    pixels = jnp.clip(images * std + mean, 0, 1)  # against round-off
    lower, upper = -jnp.minimum(attack.eps, pixels), jnp.minimum(attack.eps, 1 - pixels)
    return jnp.clip(delta, lower, upper)


def start(images: Array, keys: Array, attack: Attack) -> Array:
    """A random delta in the ball, drawn for each image by its key in keys [B].

    Without labels l is smallest at delta = 0. Its gradient there is exactly 0, and an
    attack that starts there never moves.
    """
    shape, dtype = images.shape[1:], images.dtype
    draw = lambda key: jax.random.uniform(
        derive(key, "saliency"), shape, dtype, -attack.eps, attack.eps
    )
    return into_range(images, jax.vmap(draw)(keys), attack)


def pgd(gradient: Callable, images: Array, delta: Array, attack: Attack) -> Array:
    """`attack.steps` steps of ascent from delta along the sign of gradient(delta)."""

    def step(delta, _):
        moved = delta + attack.step * jnp.sign(gradient(delta))
        return into_range(images, moved, attack), None

    return lax.scan(step, delta, length=attack.steps)[0]


def target(logits: Array, label: Array | None = None) -> Array:
    """The output that an attack moves away from: softmax f(x), or one-hot labels [B]."""
    if label is None:
        return jax.nn.softmax(logits)
    return jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype)


def divergence(logits: Array, target: Array) -> Array:
    """l(f(x + delta), f(x)), the cross-entropy averaged over the batch.

    Args:
      logits: logits f(x + delta) [B, classes].
      target: probabilities [B, classes].
    """
    return -(target * jax.nn.log_softmax(logits)).sum(-1).mean()


def find(
    logits: Callable,
    images: Array,
    keys: Array,
    attack: Attack = Attack(),  # noqa: B008, immutable
    label: Array | None = None,
) -> Array:
    """The saliency delta [B, H, W, C] of images.

    Args:
      logits: images -> [B, classes].
      images: images [B, H, W, C], normalised by the mean and std of `attack`.
      keys: typed keys [B] of the random start, one per image.
      attack: settings of the ascent.
      label: true labels [B], the target instead of the network's output for x.

    >>> images = jnp.full((1, 2, 1, 1), 0.5)
    >>> logits = lambda x: x[:, :, 0, 0] @ jnp.array([[1.0, -1.0], [0.1, 0.3]])
    >>> delta = find(logits, images, jax.random.key(0)[None])
    >>> (abs(delta) * 255).round().reshape(-1).tolist()
    [8.0, 8.0]
    """
    aim = lax.stop_gradient(target(logits(images), label))
    gradient = jax.grad(
        lambda delta: divergence(logits(perturbed(images, delta, attack)), aim)
    )
    return pgd(gradient, images, start(images, keys, attack), attack)


def reweighted(
    images: Array, delta: Array, mode: str = "signed", eps: float = 8 / 255
) -> Array:
    """delta * x, element by element, as the network of the third level takes it.

    Args:
      images: x, normalised; a pixel of the mean colour is 0 and stays so.
      delta: as `find` returns it.
      mode: "signed": delta * x, as eq. 3 is printed; "absolute": |delta| * x; "scaled":
        |delta| / eps * x, whose weights are from 0 to 1.
      eps: divisor of "scaled".
    """
    arguments.choice(mode, "mode", *MODES)
    if mode != "signed":
        delta = abs(delta)
    return images * (delta / eps if mode == "scaled" else delta)


def heat(delta: Array) -> Array:
    """The mean of |delta| over the channels: maps [B, H, W] (appendix L)."""
    return abs(delta).mean(-1)


def gradient_saliency(logits: Callable, images: Array, label: Array) -> Array:
    """d (logit of the label) / d x, [B, H, W, C] (Simonyan et al., arXiv 1312.6034)."""
    return jax.grad(lambda x: of_label(logits(x), label).sum())(images)


def integrated_gradients(
    logits: Callable, images: Array, label: Array, steps: int = 32
) -> Array:
    """x times the mean gradient on the line from the mean colour to x, [B, H, W, C].

    Sundararajan et al., arXiv 1703.01365, by the midpoint rule: the sum over an image
    approaches the difference of its logits at both ends.
    """
    middles = (jnp.arange(steps) + 0.5) / steps
    add = lambda total, t: (
        total + gradient_saliency(logits, t * images, label),
        None,
    )
    total, _ = lax.scan(add, jnp.zeros_like(images), middles)
    return images * total / steps


def of_label(logits: Array, label: Array) -> Array:
    """The entries [B] of logits [B, classes] at the labels [B]."""
    return jnp.take_along_axis(logits, label[:, None], 1)[:, 0]


def _row(values: tuple[float, ...], like: Array) -> Array:
    """Values per channel, shaped to broadcast over [B, H, W, C]."""
    return jnp.asarray(np.asarray(values), like.dtype).reshape(1, 1, 1, -1)
