"""Saliency maps by adversarial attack, and images that are reweighted by them.

Hosseini and Xie, "Saliency-Aware Neural Architecture Search", NeurIPS 2022, after
Madry et al., arXiv 1706.06083: an image's saliency is the perturbation delta,
|delta| <= eps, that changes what a network says of it most,

    delta* = argmax l(f(x + delta), f(x)).

Needs jax alone. Images x [B, H, W, C] are as networks take them, normalised by the mean
and standard deviation of each channel; delta is in units of pixels in [0, 1], whatever
the normalisation, and x + delta stays within black and white.
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
      steps: how many.
      eps: radius of the ball, in pixels.
      step: length of a step in every pixel, in pixels.
      mean: per channel, of the pixels, that was subtracted.
      std: per channel, that was divided by.
    """

    steps: int = 7
    eps: float = 8 / 255
    step: float = 2 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


def perturbed(images: Array, delta: Array, attack: Attack) -> Array:
    """x + delta as a network takes it."""
    return images + delta / _row(attack.std, images)


def into_range(images: Array, delta: Array, attack: Attack) -> Array:
    """delta brought into the ball, and to where x + delta is a pixel."""
    std, mean = _row(attack.std, images), _row(attack.mean, images)
    pixels = jnp.clip(images * std + mean, 0, 1)  # without the round-off
    lower, upper = -jnp.minimum(attack.eps, pixels), jnp.minimum(attack.eps, 1 - pixels)
    return jnp.clip(delta, lower, upper)


def start(images: Array, keys: Array, attack: Attack) -> Array:
    """A random delta in the ball, of each image by its own key [B].

    Where l is smallest at delta = 0, as it is without labels, its gradient there is
    exactly 0, and an attack from there never moves.
    """
    shape, dtype = images.shape[1:], images.dtype
    draw = lambda key: jax.random.uniform(
        derive(key, "saliency"), shape, dtype, -attack.eps, attack.eps
    )
    return into_range(images, jax.vmap(draw)(keys), attack)


def pgd(gradient: Callable, images: Array, delta: Array, attack: Attack) -> Array:
    """Ascends from delta by the sign of gradient(delta), `attack.steps` times."""

    def step(delta, _):
        moved = delta + attack.step * jnp.sign(gradient(delta))
        return into_range(images, moved, attack), None

    return lax.scan(step, delta, length=attack.steps)[0]


def target(logits: Array, label: Array | None = None) -> Array:
    """What an attack moves away from: softmax f(x), or with labels [B] these, one-hot."""
    if label is None:
        return jax.nn.softmax(logits)
    return jax.nn.one_hot(label, logits.shape[-1], dtype=logits.dtype)


def divergence(logits: Array, target: Array) -> Array:
    """l(f(x + delta), f(x)), the mean over the batch of cross-entropies of [B, classes].

    Args:
      logits: of f(x + delta).
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
      images: normalised as `attack` says.
      keys: typed, one per image, of the random start.
      attack: how it is found.
      label: true labels [B], in the place of what the network says of x.

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
      images: x, normalised, so that the mean colour stays what it is.
      delta: as `find` returns it.
      mode: "signed": delta * x, as eq. 3 is printed; "absolute": |delta| * x; "scaled":
        |delta| / eps * x, whose weights are from 0 to 1.
      eps: of "scaled".
    """
    arguments.choice(mode, "mode", *MODES)
    if mode != "signed":
        delta = abs(delta)
    return images * (delta / eps if mode == "scaled" else delta)


def heat(delta: Array) -> Array:
    """|delta|, the mean over the channels: maps [B, H, W] (appendix L)."""
    return abs(delta).mean(-1)


def gradient_saliency(logits: Callable, images: Array, label: Array) -> Array:
    """d (logit of the label) / d x, [B, H, W, C] (Simonyan et al., arXiv 1312.6034)."""
    return jax.grad(lambda x: of_label(logits(x), label).sum())(images)


def integrated_gradients(
    logits: Callable, images: Array, label: Array, steps: int = 32
) -> Array:
    """x * the mean gradient on the way to x from the mean colour, [B, H, W, C].

    Sundararajan et al., arXiv 1703.01365, by the midpoint rule, so that the sums over
    an image approach the difference of its logits at both ends.
    """
    middles = (jnp.arange(steps) + 0.5) / steps
    add = lambda total, t: (
        total + gradient_saliency(logits, t * images, label),
        None,
    )
    total, _ = lax.scan(add, jnp.zeros_like(images), middles)
    return images * total / steps


def of_label(logits: Array, label: Array) -> Array:
    """Of [B, classes] the entries of the labels [B]."""
    return jnp.take_along_axis(logits, label[:, None], 1)[:, 0]


def _row(values: tuple[float, ...], like: Array) -> Array:
    """Per channel, to be broadcast over [B, H, W, C]."""
    return jnp.asarray(np.asarray(values), like.dtype).reshape(1, 1, 1, -1)
