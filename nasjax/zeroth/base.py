"""What all zero-order methods share: their contract, flat vectors and metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from nasjax.core import arguments
from nasjax.core.trees import widest

Schedule = float | Callable[[Array], Array]  # a number, or updates so far -> number


class Proposal(NamedTuple):
    """Points to evaluate.

    Attributes:
      candidates: a pytree like x whose leaves lead with [N].
      aux: what the method needs again in `update` (directions, log q, radii).
    """

    candidates: Any
    aux: Any


class ZerothOrder(NamedTuple):
    """A zero-order method as three pure functions.

    Attributes:
      init: (x, key) -> state.
      propose: (state, x, key, guide=None) -> Proposal. guide: a pytree like x, for
        example a gradient; a method that has no use for it ignores it.
      update: (state, x, proposal, losses [N]) -> (x, state, metrics); `summary` says
        which metrics. A loss that is not finite is left out; if all are, x stays.
      samples: N, losses that one update needs.
    """

    init: Callable
    propose: Callable
    update: Callable
    samples: int


class State(NamedTuple):
    """updates: how many so far, what schedules are asked with."""

    updates: Array


def start(x, key) -> State:
    """The `init` of all methods."""
    del key
    arguments.floating(x, "x")
    return State(jnp.zeros((), jnp.int32))


def scheduled(value: Schedule, state: State, dtype) -> Array:
    """The number that a setting is now."""
    return jnp.asarray(value(state.updates) if callable(value) else value, dtype)


def measured(losses: Array, samples: int, dtype) -> Array:
    """The losses [N] in the wider of their dtype and `dtype`.

    Raises:
      ValueError: there are not as many as candidates.
    """
    losses = jnp.asarray(losses)
    if losses.shape != (samples,):
        raise ValueError(
            f"losses has shape {losses.shape}; expected ({samples},), one scalar for "
            "each candidate."
        )
    return losses.astype(widest(losses.dtype, dtype))


def summary(losses: Array, kept: Array, step: Array, **more: Array) -> dict[str, Array]:
    """The metrics of an update.

    Args:
      losses: [N].
      kept: [N], which of them counted.
      step: [d], from the old x to the new one.
      **more: the method's own.

    Returns:
      candidate_loss and candidate_spread: mean and standard deviation of the losses
      kept, 0 if none is; left_out: how many are not; step_norm; moved: 0 or 1.

    >>> losses, kept = jnp.array([1.0, 3.0, jnp.inf]), jnp.array([True, True, False])
    >>> found = summary(losses, kept, jnp.array([3.0, 4.0]))
    >>> [f"{name}: {value:g}" for name, value in found.items()][:3]
    ['candidate_loss: 2', 'candidate_spread: 1', 'left_out: 1']
    >>> float(found["step_norm"]), int(found["moved"])
    (5.0, 1)
    """
    count = jnp.maximum(kept.sum(dtype=losses.dtype), 1)
    mean = jnp.where(kept, losses, 0).sum() / count
    variance = jnp.square(jnp.where(kept, losses - mean, 0)).sum() / count
    norm = jnp.linalg.norm(step)
    return {
        "candidate_loss": mean,
        "candidate_spread": jnp.sqrt(variance),
        "left_out": (~kept).sum(),
        "step_norm": norm,
        "moved": (norm > 0).astype(jnp.int32),
        **more,
    }
