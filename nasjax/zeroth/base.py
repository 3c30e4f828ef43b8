"""The parts that all zero-order methods share: interface, checks and metrics."""

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
      candidates: a pytree like x whose leaves have a leading axis [N].
      aux: data of the method for its `update` (directions, log q, radii).
    """

    candidates: Any
    aux: Any


class ZerothOrder(NamedTuple):
    """A zero-order method as three pure functions.

    Attributes:
      init: (x, key) -> state.
      propose: (state, x, key, guide=None) -> Proposal. guide: a pytree like x, for
        example a gradient; a method without a use for it ignores it.
      update: (state, x, proposal, losses [N]) -> (x, state, metrics); for the metrics
        see `summary`. A loss that is not finite is left out; if none is finite, x
        stays.
      samples: N, number of losses that one update needs.
    """

    init: Callable
    propose: Callable
    update: Callable
    samples: int


class State(NamedTuple):
    """updates: number of updates so far, the argument of schedules."""

    updates: Array


def start(x, key) -> State:
    """The `init` of all methods."""
    del key
    arguments.floating(x, "x")
    return State(jnp.zeros((), jnp.int32))


def scheduled(value: Schedule, state: State, dtype) -> Array:
    """The current value of a setting."""
    return jnp.asarray(value(state.updates) if callable(value) else value, dtype)


def measured(losses: Array, samples: int, dtype) -> Array:
    """The losses [N] in the wider of their dtype and `dtype`.

    Raises:
      ValueError: the number of losses is not the number of candidates.
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
      losses: losses [N].
      kept: mask [N], True for the losses that the update used.
      step: step [d] from the old x to the new one.
      **more: metrics specific to the method.

    Returns:
      candidate_loss and candidate_spread: mean and standard deviation of the kept
      losses, 0 if none is kept; left_out: number of the other losses; step_norm: norm
      of the step; moved: 0 or 1.

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
