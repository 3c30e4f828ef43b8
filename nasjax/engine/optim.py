"""Optimisers and schedules with PyTorch's semantics, built from optax parts.

SGD: the raw gradient is clipped by its global norm, weight decay is added after that,
the buffer is momentum * buffer + g, and the learning rate multiplies the buffer.
Adam: weight decay is L2 added to the gradient, not decoupled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

Schedule = Callable[[Array], Array]


class Hyper(NamedTuple):
    """The hyperparameters of a training that its programs take as arguments.

    Users change these most. They are traced, so a new value compiles nothing.

    Attributes:
      epochs: number of epochs, an integer.
      rate: learning rate of the first epoch.
      rate_min: learning rate towards which the schedule falls.
      weight_decay: coefficient of the L2 term.
    """

    epochs: Any
    rate: Any
    rate_min: Any
    weight_decay: Any

    @classmethod
    def of(cls, settings) -> Hyper:
        """Those of the config's part `search` or `retrain`."""
        least = getattr(settings, "rate_min", 0.0)
        return cls(settings.epochs, settings.rate, least, settings.weight_decay)

    def arrays(self) -> Hyper:
        """The same as scalar arrays of fixed dtypes, as programs take them."""
        return Hyper(jnp.int32(self.epochs), *map(jnp.float32, self[1:]))


def sgd(
    rate,
    momentum: float,
    weight_decay: float,
    clip: float = 0.0,
    nesterov: bool = False,
):
    """SGD as `torch.optim.SGD` after `clip_grad_norm_`.

    Args:
      rate: learning rate: a number, a traced scalar or a schedule.
      momentum: factor of the buffer; the first step's buffer is the gradient.
      weight_decay: L2 coefficient; the term is added to the clipped gradient.
      clip: largest global norm of the raw gradient; 0 does not clip.
      nesterov: True: the step is gradient + momentum * buffer.
    """
    return optax.chain(
        optax.clip_by_global_norm(clip) if clip else optax.identity(),
        optax.add_decayed_weights(weight_decay),
        optax.trace(momentum, nesterov),
        optax.scale_by_learning_rate(rate),
    )


def adam(rate, b1: float, b2: float, weight_decay: float):
    """Adam as `torch.optim.Adam`: bias-corrected, eps 1e-8 outside the square root."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_adam(b1, b2, eps=1e-8),
        optax.scale_by_learning_rate(rate),
    )


def cosine(start: float, end: float, epochs: int, steps_per_epoch: int) -> Schedule:
    """lr(e) = end + (start - end) / 2 * (1 + cos(pi e / epochs)), constant in an epoch.

    >>> [round(float(cosine(1.0, 0.0, 4, 10)(s)), 4) for s in (0, 9, 10, 20, 39)]
    [1.0, 1.0, 0.8536, 0.5, 0.1464]
    """

    def schedule(step: Array) -> Array:
        epoch = (jnp.asarray(step) // steps_per_epoch).astype(jnp.float32)
        return end + (start - end) / 2 * (1 + jnp.cos(jnp.pi * epoch / epochs))

    return schedule


def linear(start: float, epochs: int, steps_per_epoch: int, warmup: int) -> Schedule:
    """Linear decay to 0, constant in an epoch, with a linear warm-up (ImageNet).

    start * (T - e) / T with T = epochs - 5; in the last 5 epochs
    start * (epochs - e) / (5 T). In the first `warmup` epochs e it is multiplied by
    (e + 1) / warmup. As in the code of P-DARTS and ZARTS.

    >>> rate = linear(0.5, 250, 1, 5)
    >>> [round(float(rate(e)), 4) for e in (0, 4, 5, 245, 249)]
    [0.1, 0.4918, 0.4898, 0.002, 0.0004]
    """
    long = jnp.maximum(epochs - 5, 1)

    def schedule(step: Array) -> Array:
        epoch = (jnp.asarray(step) // steps_per_epoch).astype(jnp.float32)
        tail = (epochs - epoch) / (5 * long)
        rate = start * jnp.where(epoch < long, (long - epoch) / long, tail)
        return rate * jnp.minimum((epoch + 1) / max(warmup, 1), 1)

    return schedule
