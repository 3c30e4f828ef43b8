"""Saliency maps by adversarial attack, and images reweighted by them.

Hosseini and Xie, "Saliency-Aware Neural Architecture Search", NeurIPS 2022, after
Madry et al., arXiv 1706.06083: an image's saliency is the perturbation delta,
|delta| <= eps, that changes a network's output f most,

    delta* = argmax l(f(x + delta), f(x)).

l is the cross-entropy to a target. "soft", the probabilities f(x), is the formula as
printed. Near delta = 0 this l is quadratic, so the ascent follows the leading direction
or its opposite, as the random start decides. "predicted", the class with the largest
probability, and "label" have a slope at delta = 0, where the ascent then starts.

This module needs jax alone. Images x [B, H, W, C] are normalised by the mean and
standard deviation of each channel, as networks take them. delta is in units of pixels
in [0, 1], whatever the normalisation, and x + delta stays between black and white.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nasjax.core import arguments
from nasjax.core.keys import derive

MODES = ("signed", "absolute", "scaled")
ASCENTS = ("gradient", "pgd")
TARGETS = ("predicted", "soft", "label")


class Attack(NamedTuple):
    """Gradient ascent in the l_inf ball (eq. 2; Table 7).

    Attributes:
      steps: number of steps.
      eps: radius of the ball, in units of pixels.
      step: length of a step, in units of pixels: of every pixel with ascent "pgd", the
        mean over the pixels of an image with "gradient".
      mean: mean of the pixels per channel, subtracted from the images.
      std: standard deviation per channel, by which the images are divided.
      ascent: "gradient": steps of eq. 2, xi_delta times the gradient; "pgd": steps along
        the gradient's sign.
      target: what l compares f(x + delta) with: "predicted", "soft" or "label".
      rate: xi_delta of eq. 2; 0: `step` over the mean of |gradient| of each image.
    """

    steps: int = 7
    eps: float = 8 / 255
    step: float = 2 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    ascent: str = "gradient"
    target: str = "predicted"
    rate: float = 0.0

    @classmethod
    def of(cls, fields: Any, mean: tuple[float, ...], std: tuple[float, ...]) -> Attack:
        """The attack whose other attributes are attributes of `fields`."""
        return cls(
            fields.steps, fields.eps, fields.step, mean, std, fields.ascent,
            fields.target, fields.rate,
        )  # fmt: skip


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
    """The first delta: 0, or drawn for each image by its key in keys [B].

    With the target "soft" l is smallest at delta = 0. Its gradient there is exactly 0,
    and an attack that starts there never moves. The start is then random: in the whole
    ball for "pgd"; a tenth of a step long for "gradient", whose result is the sum of the
    start and of all moves.
    """
    if attack.target != "soft":
        return jnp.zeros_like(images)
    radius = attack.eps if attack.ascent == "pgd" else attack.step / 10
    shape, dtype = images.shape[1:], images.dtype
    draw = lambda key: jax.random.uniform(
        derive(key, "saliency"), shape, dtype, -radius, radius
    )
    return into_range(images, jax.vmap(draw)(keys), attack)


def rate(gradient: Array, attack: Attack) -> Array | float:
    """xi_delta of eq. 2, a constant: `attack.rate`, or of each image [B, 1, 1, 1].

    gradient: gradient [B, H, W, C] of the sum of l over the images.
    """
    if attack.rate:
        return attack.rate
    size = lax.stop_gradient(abs(gradient).mean((1, 2, 3), keepdims=True))
    return attack.step / jnp.where(size > 0, size, 1)


def moved(delta: Array, gradient: Array, images: Array, attack: Attack) -> Array:
    """delta after one step of ascent; arguments are as in `rate`."""
    if attack.ascent == "pgd":
        way = attack.step * jnp.sign(gradient)
    else:
        way = rate(gradient, attack) * gradient
    return into_range(images, delta + way, attack)


def ascend(gradient: Callable, images: Array, delta: Array, attack: Attack) -> Array:
    """delta after `attack.steps` steps of ascent along gradient(delta)."""

    def step(delta, _):
        return moved(delta, gradient(delta), images, attack), None

    return lax.scan(step, delta, length=attack.steps)[0]


def target(logits: Array, attack: Attack, label: Array | None = None) -> Array:
    """The probabilities [B, classes] that an attack moves away from.

    Args:
      logits: logits f(x) [B, classes].
      attack: attack whose `target` says which.
      label: true labels [B], for the target "label".

    Raises:
      ValueError: the target has another name, or is "label" without labels.
    """
    arguments.choice(attack.target, "target", *TARGETS)
    if attack.target == "soft":
        return jax.nn.softmax(logits)
    if attack.target == "predicted":
        label = logits.argmax(-1)
    elif label is None:
        raise ValueError(
            "The target of the attack is 'label', and label is None; give the labels, or "
            "the target 'predicted'."
        )
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
    first: Array | None = None,
) -> Array:
    """The saliency delta [B, H, W, C] of images.

    Args:
      logits: images -> [B, classes].
      images: images [B, H, W, C], normalised by the mean and std of `attack`.
      keys: typed keys [B] of the random start, one per image.
      attack: settings of the ascent.
      label: true labels [B], for the target "label".
      first: the first delta [B, H, W, C]; None: that of `start`.

    Raises:
      ValueError: as `target`.

    >>> images = jnp.full((1, 2, 1, 1), 0.5)
    >>> logits = lambda x: x[:, :, 0, 0] @ jnp.array([[1.0, -1.0], [0.1, 0.3]])
    >>> delta = find(logits, images, jax.random.key(0)[None])
    >>> (delta * 255).round(1).reshape(-1).tolist()  # the first pixel decides
    [-8.0, 2.5]
    """
    aim = lax.stop_gradient(target(logits(images), attack, label))
    gradient = jax.grad(
        lambda delta: (
            divergence(logits(perturbed(images, delta, attack)), aim) * len(images)
        )
    )
    first = start(images, keys, attack) if first is None else first
    return ascend(gradient, images, first, attack)


def reweighted(
    images: Array, delta: Array, mode: str = "scaled", eps: float = 8 / 255
) -> Array:
    """delta * x, element by element, as the network of the third level takes it.

    The sign of delta says if a pixel has to become lighter or darker, not how important
    it is. The product with both signs, "signed", therefore holds little of the image.

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
