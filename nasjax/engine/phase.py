"""A phase of a run: what the training loop needs to know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

State = Any


class Several(NamedTuple):
    """The runs that a phase advances together, see `nasjax.engine.together`.

    Attributes:
        seeds: of the runs.
        alone: index of a run -> its phase, which has its state and is not stepped.
        join: the states of all runs -> the state of the phase.
        split: the state of the phase -> the states of all runs, on the host.
    """

    seeds: tuple[int, ...]
    alone: Callable[[int], Phase]
    join: Callable[[list[State]], State]
    split: Callable[[State], list[State]]


class Phase(NamedTuple):
    """A phase for the loop to run.

    Attributes:
        name: name of the phase in checkpoints and log lines.
        steps: total number of steps.
        steps_per_epoch: number of steps in an epoch, at least 1.
        init: () -> the initial state, any pytree of arrays.
        step: (state, index) -> (state, metrics); metrics are scalars on the device. It
            must depend on nothing else, or a resumed run would differ.
        compile: (state) -> a line to show, or None. Compiles the programs of `step` and
            `evaluate` ahead of time; refuses programs that do not fit in memory. It is
            timed separately.
        evaluate: (state) -> metrics, floats; called when an epoch or the phase ends.
        estimator: estimator by which a search moves alpha, for `metrics.jsonl`.
        words: metrics of a log line -> at most three words that a person reads.
        remark: metrics of the line that ends an epoch -> a sentence for the user, or
            None. The first one is shown, and no other until the phase starts again.
        start: step of the state that `init` returns; above 0 after a roll-back.
        shapes: () -> shapes and dtypes of the state, faster than tracing `init`.
        place: the state of `init`, or a restored state -> the same on the devices.
        several: how the state is made of the states of several runs; None: of one run.
        over: () -> True if the phase ends before its last step; called at the start and
            when an epoch ends.
        keeps: (step, newest step) -> True if the checkpoint of a step is kept in
            addition to the two newest. A step where keeps(step, step) is True has a
            checkpoint.
    """

    name: str
    steps: int
    steps_per_epoch: int
    init: Callable[[], State]
    step: Callable[[State, int], tuple[State, Mapping[str, jax.Array]]]
    compile: Callable[[State], str | None]
    evaluate: Callable[[State], Mapping[str, float]]
    estimator: str | None = None
    words: Callable[[Mapping[str, float | None]], list[str]] = lambda metrics: []
    remark: Callable[[Mapping[str, float | None]], str | None] = lambda metrics: None
    start: int = 0
    over: Callable[[], bool] = lambda: False
    keeps: Callable[[int, int], bool] = lambda step, newest: False
    shapes: Callable[[], State] | None = None
    place: Callable[[State], State] = lambda state: state
    several: Several | None = None

    def abstract(self) -> State:
        """Shapes and dtypes of the state."""
        return self.shapes() if self.shapes else jax.eval_shape(self.init)
