"""Search and retraining as phases of the one loop: batches, programs, measurements."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array

from nasjax.engine import memory
from nasjax.engine.compiling import compiler_options
from nasjax.engine.devices import Devices
from nasjax.engine.loop import Phase
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import NOTHING, Programs, Store
from nasjax.engine.workdir import RunFolder
from nasjax.monitors.base import Monitor, Seen
from nasjax.search import Search
from nasjax.search.base import Program
from nasjax.spaces.mix import strength
from nasjax.tasks.base import Retraining

LOWER = (
    "lower --config.search.batch, --config.search.channels or, for ZARTS, "
    "--config.arch.NAME.chunk (1), or set --config.remat=cell."
)


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
    search = begin(hyper)
    problem, training = search.problem, search.problem.training
    space, epochs = problem.space, int(hyper.epochs)
    key = devices.replicate(key)
    data = {
        **devices.replicate(dict(halves)),
        "hyper": devices.replicate(hyper.arrays()),
    }
    watched = monitors(search)
    measured = [own.name for own in watched if own.program]

    def measure(name: str) -> Callable:
        """The program of a monitor, of the search that `begin` makes of traced numbers."""

        def program(state, part, traced):
            every = {own.name: own.program for own in monitors(begin(traced))}
            return every[name](state, part)  # type: ignore[misc]

        return jax.jit(program)

    constants = [penalty.depends for penalty in problem.penalties]
    programs = Programs(
        store.of("search", space, constants, shapes(data)),
        list(devices.where),
        init=jax.jit(search.init),
        **{own.name: _program(own, begin, devices) for own in search.programs},
        **{name: measure(name) for name in measured},
    )
    # Last metrics of programs that are not due at every step, for the log only.
    seen: dict[str, Array] = {}

    def compile(state) -> str:
        order = {"alpha": 0, "weights": 2}  # the largest first
        needed = sorted(search.programs, key=lambda own: order.get(own.name, 1))
        arguments: dict[str, tuple] = {own.name: (state, data) for own in needed}
        arguments |= dict.fromkeys(measured, (state, data["arch"], data["hyper"]))
        soon = next(
            own.name for own in search.programs if own.cadence.due(int(state.step))
        )
        planned = programs.compile(arguments, soon, compiler_options())
        return memory.report(name, planned, devices.where, LOWER)

    def step(state, index: int):
        for own in search.programs:
            if own.cadence.due(index):
                state, metrics = programs[own.name](state, data)
                if own.name == "weights":
                    trained = metrics
                else:
                    seen.update(metrics)
        return state, {**seen, **trained}

    def evaluate(state):
        mix = jax.device_get(jax.jit(search.mix)(state))
        genotype = search.genotype(mix, most_skips)
        readings = search.readings(mix, most_skips)
        now = Seen(state, int(state.step), mix, genotype, readings)
        folder.log(_mix_line(name, search, now))
        epoch = now.step // training.steps_per_epoch - 1
        found: dict[str, float] = {}
        for monitor in watched:
            if not monitor.due(epoch, epochs):
                continue
            if monitor.program:
                values = programs[monitor.name](state, data["arch"], data["hyper"])
                found |= {key: float(value) for key, value in values.items()}
            if monitor.report:
                found |= monitor.report(now)
        return found

    return Phase(
        name,
        epochs * training.steps_per_epoch,
        training.steps_per_epoch,
        lambda: programs.initial(key),
        step,
        compile,
        evaluate,
        search.name,
        remark=search.direction.remark,
        shapes=lambda: programs.shapes("init", key),
        place=devices.replicate,
    )


def _program(own: Program, begin: Callable[[Hyper], Search], devices: Devices):
    """A program of the search, with traced hyperparameters."""

    def batches(data, state):
        task = begin(data["hyper"]).problem.task
        return *own.batches.draw(task, data, state), data["hyper"]

    def step(state, *made):
        *batches, traced = made
        return begin(traced).program(own.name).step(state, *batches)

    return devices.step(step, batches, (*own.batches.axes, None))


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
