"""A profile of a step on the device: its longest kernels, and the gaps between."""

from __future__ import annotations

import collections
import re
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

LONGEST = 10
_STREAM = re.compile(r"Stream|XLATfrtCpuClient|XLAPjRtCpuClient|XLAEigen")


def profile(step: Callable[[], Any], steps: int = 3) -> dict:
    """The profile of `steps` steps, after one that is not measured."""
    step()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                step()
        events: list[tuple[str, float, float]] = []
        for file in Path(folder).rglob("*.xplane.pb"):
            events += _events(jax.profiler.ProfileData.from_file(str(file)))
    return summary(events, steps) if events else {"kernels": 0}


def summary(events: Sequence[tuple[str, float, float]], steps: int) -> dict:
    """The summary of events (name, start, duration), in seconds.

    >>> found = summary([("a", 0.0, 1.0), ("b", 1.0, 2.0), ("a", 4.0, 1.0)], 1)
    >>> found["kernels"], found["seconds"], found["idle"]
    (3.0, 5.0, 0.2)
    >>> found["longest"][0]
    {'name': 'a', 'share': 0.5, 'calls': 2.0}
    """
    totals: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    for name, _, took in events:
        totals[name] += took
        calls[name] += 1
    first = min(start for _, start, _ in events)
    last = max(start + took for _, start, took in events)
    whole = sum(totals.values())
    return {
        "kernels": len(events) / steps,
        "seconds": (last - first) / steps,
        "busy_seconds": _covered(events) / steps,
        "idle": 1 - _covered(events) / (last - first),
        "longest": [
            {"name": name, "share": took / whole, "calls": calls[name] / steps}
            for name, took in totals.most_common(LONGEST)
        ],
    }


def _events(data: Any) -> Iterable[tuple[str, float, float]]:
    """The events of the device: of its streams, or of the threads of a CPU."""
    planes = list(data.planes)
    if jax.default_backend() != "cpu":
        planes = [plane for plane in planes if plane.name.startswith("/device:")]
    for plane in planes:
        for line in plane.lines:
            if _STREAM.search(line.name):
                for event in line.events:
                    if event.duration_ns > 0:
                        start, took = event.start_ns, event.duration_ns
                        yield event.name, start / 1e9, took / 1e9


def _covered(events: Iterable[tuple[str, float, float]]) -> float:
    """Time in which at least one event runs."""
    total = end = 0.0
    for _, start, took in sorted(events, key=lambda event: event[1]):
        total += max(start + took - max(start, end), 0)
        end = max(end, start + took)
    return total
