"""Many candidates, or many seeds, in one program: the cost of each more."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax

from benchmarks import sizes
from benchmarks.ours import Ours
from benchmarks.record import Record, without_paths
from nasjax.engine import memory
from nasjax.engine.compiling import side_by_side

CANDIDATES = (1, 8, 4, 2, 16, 32)  # the most important that surely fit come first
SEEDS = (1, 8, 4, 2)


def candidates(record: Record) -> None:
    """Times a step of ZARTS-MGS with each number of candidates under one vmap.

    Edges are recomputed for gradients: if kept, 16 candidates would fill a card.
    """
    dry = record.plan.dry
    settings = (sizes.SMALLEST if dry else sizes.FULL) | {"remat": "edge"}
    net = sizes.smallest() if dry else {}
    counts = (1, 2) if dry else CANDIDATES
    record.keep(settings=settings)
    steps: dict[int, Callable[[], float]] = {}
    found: dict[str, dict] = {}

    def measured(count: int) -> str:
        made = SimpleNamespace(**settings | {"samples": count, "chunk": count})
        ours = Ours(made, **net)
        compiling = ours.compile("mgs")
        planned = ours.planned_bytes("mgs")
        of_one = found.get("1", {}).get("planned_bytes", planned)
        found[str(count)] = row = {
            "compile_seconds": compiling, "planned_bytes": planned,
            "planned_over_one": planned / of_one,
        }  # fmt: skip
        steps[count] = functools.partial(ours.run, "mgs")
        own, one = _beside(steps, count, 1 if dry else 3)
        row |= {"seconds": own, "over_one": own / one}
        return (
            f"{own:.3g} s, {row['over_one']:.2f} times N = 1; planned "
            f"{planned / 1e6:.0f} MB, {row['planned_over_one']:.2f} times"
        )

    for count in counts:
        _tried(record, "candidates", count, found, measured)
    if "over_one" in found.get("8", {}):
        record.goal("MGS with N = 8 over N = 1", found["8"]["over_one"], 2)


def seeds(record: Record) -> None:
    """Times weight and first-order step of many searches on NAS-Bench-201."""
    dry = record.plan.dry
    wide = {"cells": 15}
    settings = sizes.SMALLEST if dry else sizes.FULL | wide
    record.keep(settings=settings)
    ours = Ours(SimpleNamespace(**settings), **sizes.nasbench201(settings, dry))
    names = ("weight_step", "first_order")
    steps: dict[str, dict[int, Callable[[], float]]] = {name: {} for name in names}
    found: dict[str, dict] = {}

    def measured(count: int) -> str:
        began = time.perf_counter()
        states, programs, batches = _vmapped(ours, names, count)
        found[str(count)] = row = {"compile_seconds": time.perf_counter() - began}
        for name in names:
            steps[name][count] = Step(programs[name], states, batches[name])
            own, one = _beside(steps[name], count, 1 if dry else 5)
            row[name] = {
                "seconds": own, "over_one": own / one,
                "planned_bytes": memory.needed(programs[name]),
            }  # fmt: skip
        line = ", ".join(f"{name} {row[name]['over_one']:.2f}" for name in names)
        return f"in times of one: {line}"

    for count in (1, 2) if dry else SEEDS:
        _tried(record, "seeds", count, found, measured)


def _tried(
    record: Record,
    what: str,
    count: int,
    found: dict[str, dict],
    measured: Callable[[int], str],
) -> None:
    """Measures one count; a count that does not fit on the card is reported."""
    if record.left <= 0:
        record.keep(f"no time for {what} {count}")
        return
    try:
        line = measured(count)
    except Exception as error:
        if count == 1:
            raise
        message = without_paths(str(error), 600)
        found.setdefault(str(count), {})["error"] = message
        line = f"failed: {message.splitlines()[0] if message else type(error).__name__}"
    record.keep(f"{what} {count}: {line}", **{what: found})


class Step:
    """A step as a function () -> seconds, on a state that it does not change."""

    def __init__(self, program: Callable, states: Any, batches: tuple):
        self._program, self._given = program, (states, *batches)

    def __call__(self) -> float:
        began = time.perf_counter()
        jax.block_until_ready(self._program(*self._given))
        return time.perf_counter() - began


def _vmapped(ours: Ours, names: tuple[str, ...], count: int):
    """States, programs and batches of `count` seeds; one seed is not vmapped."""
    keys = jax.random.split(jax.random.key(0), count)
    init, steps = ours.inits[names[0]], {name: ours.steps[name] for name in names}
    batches = {name: ours.batches[name] for name in names}
    if count == 1:
        states = jax.jit(init)(keys[0])
    else:
        states = jax.jit(jax.vmap(init))(keys)
        steps = {name: jax.vmap(step) for name, step in steps.items()}
        again = lambda leaf: jax.numpy.stack([leaf] * count)
        batches = jax.tree.map(again, batches)
    programs = side_by_side(
        {
            name: functools.partial(jax.jit(step).lower, states, *batches[name])
            for name, step in steps.items()
        }
    )
    return states, programs, batches


def _beside(
    steps: dict[int, Callable[[], float]], count: int, repeats: int
) -> tuple[float, float]:
    """Median seconds of `count` at once and of one, which take turns."""
    runs: dict[int, list[float]] = {count: [], 1: []}
    for repeat in range(repeats + 1):
        for each in runs:
            took = steps[each]()
            if repeat:  # the first one touches memory
                runs[each].append(took)
    return statistics.median(runs[count]), statistics.median(runs[1])
