"""Search and retraining as phases of the one loop: batches, programs, measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec

from nasjax.engine import memory
from nasjax.engine.compiling import compiler_options
from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.engine.phase import Phase
from nasjax.engine.programs import NOTHING, Programs, Store
from nasjax.engine.workdir import RunFolder
from nasjax.monitors.base import Monitor, Seen
from nasjax.search import Search, SearchState
from nasjax.search.base import Program
from nasjax.spaces.mix import strength
from nasjax.tasks.base import Retraining

LOWER = (
    "lower --config.search.batch, --config.search.channels or, for ZARTS, "
    "--config.arch.NAME.chunk (1), or set --config.remat=cell."
)


# The axis of the runs in a state of several; they are all at the same step.
RUNS = SearchState(None, *[0] * (len(SearchState._fields) - 1))  # type: ignore[arg-type]


def search_phase(
    name: str,
    begin: Callable[[Hyper], Search],
    hyper: Hyper,
    halves: Mapping[str, Any],
    key: Array,
    devices: Devices,
    folder: RunFolder,
    monitors: Callable[[Search], Sequence[Monitor]],
    store: Store = NOTHING,
    most_skips: int | None = None,
) -> Phase:
    """The search as a phase: its programs run in order, each when it is due.

    Args:
      name: of the phase.
      begin: the search, of numbers that may be traced.
      hyper: these numbers.
      halves: "weights" and "arch" of the training data, see `Domain.halves`.
      key: of the search.
      devices: that steps are split over.
      folder: of the run.
      monitors: search -> what is measured at the end of epochs.
      store: of compiled programs of this code, config and data.
      most_skips: skip connections that an architecture keeps; None: any number.
    """
    made = Searching(name, begin, hyper, halves, devices, monitors, store, most_skips)
    return made.phase(key, folder)


class Searching:
    """What the phase of one search shares with the phase of several.

    count: of the runs in a state; None: the state of one run.
    """

    def __init__(
        self, name, begin, hyper, halves, devices, monitors, store=NOTHING,
        most_skips=None, count=None,
    ):  # fmt: skip
        self.name, self.devices, self.most_skips = name, devices, most_skips
        self.search, self.count, self.epochs = begin(hyper), count, int(hyper.epochs)
        problem = self.search.problem
        self.per_epoch = problem.training.steps_per_epoch
        self.data = {
            **devices.replicate(dict(halves)),
            "hyper": devices.replicate(hyper.arrays()),
        }
        self.monitors = monitors(self.search)
        self.measured = [own.name for own in self.monitors if own.program]

        def measure(name: str) -> Callable:
            """The program of a monitor, of the search that `begin` makes of traced numbers."""

            def program(state, part, traced):
                every = {own.name: own.program for own in monitors(begin(traced))}
                return every[name](state, part)

            return jax.jit(program)

        constants = [penalty.depends for penalty in problem.penalties]
        together = [] if count is None else ["runs", count]
        over = None if count is None else RUNS
        init = self.search.init
        self.programs = Programs(
            store.of("search", problem.space, constants, shapes(self.data), *together),
            list(devices.where),
            init=jax.jit(init if over is None else jax.vmap(init, out_axes=over)),
            **{
                own.name: _program(own, begin, devices, over)
                for own in self.search.programs
            },
            **{name: measure(name) for name in self.measured},
        )
        # Last metrics of programs that are not due at every step, for the log only.
        self.seen: dict[str, Array] = {}

    def planned(self, state) -> dict[str, int]:
        """Compiles all programs; name -> bytes that the program needs on a device."""
        order = {"alpha": 0, "weights": 2}  # the largest first
        needed = sorted(self.search.programs, key=lambda own: order.get(own.name, 1))
        data, one = self.data, state if self.count is None else of_one(state)
        arguments: dict[str, tuple] = {own.name: (state, data) for own in needed}
        arguments |= dict.fromkeys(self.measured, (one, data["arch"], data["hyper"]))
        soon = next(
            own.name for own in self.search.programs if own.cadence.due(int(state.step))
        )
        return self.programs.compile(arguments, soon, compiler_options())

    def compile(self, state) -> str:
        lower = (
            LOWER if self.count is None else f"lower --config.seeds_at_once, or {LOWER}"
        )
        return memory.report(self.name, self.planned(state), self.devices.where, lower)

    def step(self, state, index: int):
        for own in self.search.programs:
            if own.cadence.due(index):
                state, metrics = self.programs[own.name](state, self.data)
                if own.name == "weights":
                    trained = metrics
                else:
                    self.seen.update(metrics)
        return state, {**self.seen, **trained}

    def evaluate(self, state, folder: RunFolder):
        search = self.search
        mix = jax.device_get(jax.jit(search.mix)(state))
        genotype = search.genotype(mix, self.most_skips)
        readings = search.readings(mix, self.most_skips)
        now = Seen(state, int(state.step), mix, genotype, readings)
        folder.log(_mix_line(self.name, search, now))
        epoch = now.step // self.per_epoch - 1
        found: dict[str, float] = {}
        for monitor in self.monitors:
            if not monitor.due(epoch, self.epochs):
                continue
            if monitor.program:
                given = state, self.data["arch"], self.data["hyper"]
                values = self.programs[monitor.name](*given)
                found |= {key: float(value) for key, value in values.items()}
            if monitor.report:
                found |= monitor.report(now)
        return found

    def phase(self, key: Array, folder: RunFolder | None) -> Phase:
        """The phase. folder: that `evaluate` writes to; None: it is not evaluated."""
        key = self.devices.replicate(key)
        return Phase(
            self.name,
            self.epochs * self.per_epoch,
            self.per_epoch,
            lambda: self.programs.initial(key),
            self.step,
            self.compile,
            lambda state: self.evaluate(state, folder),  # type: ignore[arg-type]
            self.search.name,
            remark=self.search.direction.remark,
            shapes=lambda: self.programs.shapes("init", key),
            place=self.devices.replicate,
        )


def of_one(states: Any) -> SearchState:
    """Shapes and dtypes of one run's state; states: a `SearchState` of several runs."""

    def shape(leaf):
        place = leaf.sharding
        if isinstance(place, NamedSharding):  # of an array with the axis of the runs
            place = NamedSharding(place.mesh, PartitionSpec())
        return jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype, sharding=place)

    one = jax.tree.map(shape, states._replace(step=()))
    return one._replace(step=states.step)


def _program(
    own: Program, begin: Callable[[Hyper], Search], devices: Devices, over: Any
):
    """A program of the search, with traced hyperparameters; over: see `Devices.step`."""

    def batches(data, state):
        task = begin(data["hyper"]).problem.task
        return *own.batches.draw(task, data, state), data["hyper"]

    def step(state, *made):
        *batches, traced = made
        return begin(traced).program(own.name).step(state, *batches)

    return devices.step(step, batches, (*own.batches.axes, None), over)


def _mix_line(name: str, search: Search, seen: Seen) -> dict[str, Any]:
    """The line of the log with the mixing weights."""
    space = search.problem.space
    shares = {kind: strength(own) for kind, own in seen.mix.items()}
    return {
        "phase": name,
        "estimator": search.name,
        "step": seen.step,
        "edges": {kind: space.edges_of(kind) for kind in space.types},
        "genotype": seen.genotype.to_json(),
        "mix": {kind: np.round(own, 5).tolist() for kind, own in shares.items()},
    }


def shapes(tree: Any) -> Any:
    """The shapes of the leaves of a tree."""
    return jax.tree.map(lambda leaf: leaf.shape, tree)


def retrain_phase(
    name: str,
    retraining: Retraining,
    hyper: Hyper,
    key: Array,
    devices: Devices,
    store: Store = NOTHING,
    abstract: bool = False,
) -> Phase:
    """The training of a genotype's network, which sees no test data.

    Args:
      name: of the phase.
      retraining: the network and its data.
      hyper: numbers of the training.
      key: of the training.
      devices: that steps are split over.
      store: of compiled programs of this code, config, data and network.
      abstract: the phase is compiled and not run; its data take no memory of devices.
    """
    place = devices.abstract if abstract else devices.replicate
    key = devices.replicate(key)
    data = place({"own": retraining.data, "hyper": hyper.arrays()})

    def batches(data, state):
        return *retraining.batches(data["own"], state), data["hyper"]

    programs = Programs(
        store.of("retrain", shapes(data)),
        list(devices.where),
        init=jax.jit(retraining.init),
        step=devices.step(retraining.step, batches, (*retraining.axes, None)),
    )

    def compile(state) -> str:
        arguments = {"step": (state, data)}
        planned = programs.compile(arguments, "step", compiler_options(level=1))
        lower = (
            "lower --config.retrain.batch or --config.retrain.channels, or set "
            "--config.remat=cell."
        )
        return memory.report(name, planned, devices.where, lower)

    return Phase(
        name,
        hyper.epochs * retraining.steps_per_epoch,
        retraining.steps_per_epoch,
        lambda: programs.initial(key),
        lambda state, index: programs["step"](state, data),
        compile,
        lambda state: {},
        shapes=lambda: programs.shapes("init", key),
        place=place,
    )


def tested(
    retraining: Retraining, state: Any, devices: Devices, store: Store = NOTHING
) -> dict[str, float]:
    """Measures of a retrained network on the test part, which is read only here."""
    given = devices.replicate((retraining.variables(state), retraining.held))
    programs = Programs(
        store.of("test", shapes(given)),
        list(devices.where),
        test=jax.jit(retraining.test),
    )
    programs.compile({"test": given}, "test", compiler_options(level=1))
    return {name: float(value) for name, value in programs["test"](*given).items()}
