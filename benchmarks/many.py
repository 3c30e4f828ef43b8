"""Many candidates, or many seeds, in one program: the cost of each more."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from benchmarks import sizes
from benchmarks.ours import Ours
from benchmarks.record import Record, without_paths
from nasjax.engine.phase import Phase
from nasjax.experiment import defaults
from nasjax.experiment.build import Experiment, build
from nasjax.experiment.phases import Searching

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
    """Times a round (first-order step and weight step, with their batches) of searches
    on NAS-Bench-201 with several seeds in one program, as `config.seeds` runs them."""
    dry = record.plan.dry
    fields = sizes.SEARCH if dry else {}
    record.keep(settings=fields)
    made = _search201(fields)
    (stage,) = made.algorithm.stages
    steps: dict[int, Callable[[], float]] = {}
    found: dict[str, dict] = {}

    def measured(count: int) -> str:
        began = time.perf_counter()
        searching = Searching(
            "search", functools.partial(made.begin, stage, None), made.hyper(stage),
            made.domain.halves, made.devices, lambda search: [],
            count=count if count > 1 else None,
        )  # fmt: skip
        keys = jax.random.split(jax.random.key(0), count)
        phase = searching.phase(keys if count > 1 else keys[0], None)
        state = phase.place(phase.init())
        planned = searching.planned(state)
        found[str(count)] = row = {
            "compile_seconds": time.perf_counter() - began, "planned_bytes": planned,
        }  # fmt: skip
        steps[count] = Round(phase, state)
        own, one = _beside(steps, count, 1 if dry else 5)
        row |= {"seconds": own, "over_one": own / one}
        return f"{own:.3g} s, {own / one:.2f} times one seed"

    for count in (1, 2) if dry else SEEDS:
        _tried(record, "seeds", count, found, measured)


def _search201(fields: dict[str, Any]) -> Experiment:
    """First-order DARTS at the benchmark's size, on random images of one device."""
    config = defaults.settings("nasbench201")
    config.update_from_flattened_dict({**fields, "devices": 1})
    random = np.random.default_rng(0)
    side, count = 32, 4 * max(config.search.batch, 10)
    images = random.integers(0, 256, (count, side, side, 3), np.uint8)
    labels = np.arange(count) % 10
    return build(config, ((images, labels), (images, labels)))


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


class Round:
    """The steps of a phase as a function () -> seconds, which go on from its state."""

    def __init__(self, phase: Phase, state: Any):
        self._phase, self._state, self._index = phase, state, 0

    def __call__(self) -> float:
        began = time.perf_counter()
        self._state, metrics = self._phase.step(self._state, self._index)
        jax.block_until_ready((self._state, metrics))
        self._index += 1
        return time.perf_counter() - began


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
