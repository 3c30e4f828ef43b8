"""The searches of several seeds as one phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.engine.phase import Phase, Several
from nasjax.engine.programs import NOTHING, Store
from nasjax.engine.workdir import RunFolder
from nasjax.experiment.phases import Searching, of_one
from nasjax.monitors.base import Monitor
from nasjax.search import Search, SearchState


def search_of_seeds(
    name: str,
    begin: Callable[[Hyper], Search],
    hyper: Hyper,
    halves: Mapping[str, Any],
    keys: Mapping[int, Array],
    devices: Devices,
    folders: Sequence[RunFolder],
    monitors: Callable[[Search], Sequence[Monitor]],
    store: Store = NOTHING,
    most_skips: int | None = None,
) -> Phase:
    """The searches of several seeds as one phase, for `nasjax.engine.together`.

    Steps are vmapped over the seeds; monitors measure one seed after the other, by the
    programs of a single search.

    Args:
      keys: seed -> key of its search.
      folders: of the runs, in the order of the keys.
      name, begin, hyper, halves, devices, monitors, store, most_skips: see
        `search_phase`.
    """
    made = Searching(
        name, begin, hyper, halves, devices, monitors, store, most_skips, len(keys)
    )
    phase = made.phase(jnp.stack(list(keys.values())), None)
    first: dict[int, SearchState] = {}

    def initial(index: int) -> SearchState:
        if index not in first:
            first.update(enumerate(_split(phase.init())))
        return first.pop(index)

    def alone(index: int) -> Phase:
        return phase._replace(
            init=lambda: initial(index),
            shapes=lambda: of_one(phase.abstract()),
            evaluate=lambda state: made.evaluate(state, folders[index]),
            place=lambda state: state,
        )

    return phase._replace(several=Several(tuple(keys), alone, _join, _split))


def _split(states: Any) -> list[SearchState]:
    """The states of all runs, on the host."""
    held = jax.device_get(states._replace(step=()))
    count = len(states.key)
    each = (jax.tree.map(lambda leaf: leaf[index], held) for index in range(count))
    step = jax.device_get(states.step)
    return [state._replace(step=step) for state in each]


def _join(states: Sequence[Any]) -> SearchState:
    def stack(*leaves):
        if jnp.issubdtype(leaves[0].dtype, jax.dtypes.prng_key):
            return jnp.stack(leaves)
        return np.stack(leaves)

    joined = jax.tree.map(stack, *(state._replace(step=()) for state in states))
    return joined._replace(step=states[0].step)
