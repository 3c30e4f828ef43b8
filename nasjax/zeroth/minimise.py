"""The loop around a zero-order method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from nasjax.core import arguments
from nasjax.zeroth.base import ZerothOrder


def minimise(
    method: ZerothOrder,
    objective: Callable,
    x: Any,
    key: Array,
    steps: int,
    guide: Callable | None = None,
) -> tuple[Any, dict[str, Array]]:
    """`steps` updates of x in one compiled loop; each takes `method.samples` losses.

    Args:
      method: a method of this package or your own.
      objective: x -> scalar, minimised; evaluated under vmap at all candidates. It must
        be traceable by JAX; for another objective write the loop with the method's
        three functions.
      x: starting point, a pytree of floating-point arrays.
      key: key of all draws.
      steps: number of updates.
      guide: x -> a pytree like x, passed to the method, such as `jax.grad(objective)`.

    Returns:
      The last x, and the metrics of all updates, name -> array [steps].

    >>> from nasjax.zeroth import gld
    >>> sphere = lambda x: jnp.sum((x - 3.0) ** 2)
    >>> method = gld(max_radius=4.0, min_radius=1e-3)
    >>> x, history = minimise(method, sphere, jnp.zeros(2), jax.random.key(0), 100)
    >>> bool(sphere(x) < 1e-4), history["radius"].shape, method.samples
    (True, (100,), 13)
    """
    arguments.count(steps, "steps")
    x = jax.tree.map(jnp.asarray, x)
    init_key, key = jax.random.split(key)

    def step(carry, key):
        x, state = carry
        proposal = method.propose(state, x, key, None if guide is None else guide(x))
        losses = jax.vmap(objective)(proposal.candidates)
        x, state, metrics = method.update(state, x, proposal, losses)
        return (x, state), metrics

    start = (x, method.init(x, init_key))
    (x, _), history = jax.lax.scan(step, start, jax.random.split(key, steps))
    return x, history
