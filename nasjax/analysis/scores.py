"""The numbers of one run, and their statistics over the seeds of a set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nasjax.collapse import verdict
from nasjax.tasks.base import Metric

SIGNALS = ("kept_skips", "parameter_free", "width", "depth", "entropy")  # of each cell


class Run(NamedTuple):
    """A finished run.

    Attributes:
      folder: folder of the run, as given or as found in a given folder.
      result: content of result.json.
      lines: lines of metrics.jsonl of the search, without alpha.
    """

    folder: str
    result: Mapping[str, Any]
    lines: verdict.Lines


def value_of(result: Mapping[str, Any], metric: str) -> float | None:
    """A measure of a result, None if it has none of that name.

    >>> value_of({"true_accuracy": {"cifar10": 0.5}, "params": 3}, "true_cifar10")
    0.5
    """
    if metric.startswith("true_"):
        result = truths(result)
    elif not metric.endswith(Metric.of(result).name):
        return None
    value = result.get(metric)
    return value if isinstance(value, float) else None


def truths(result: Mapping[str, Any]) -> dict[str, float]:
    """The accuracies of a table in a result, by their names in the log.

    >>> without = {"without_none": {"true_accuracy": {"cifar10": 0.75}}}
    >>> truths({"true_accuracy": {"cifar10": 0.5}, "readings": without})
    {'true_cifar10': 0.5, 'true_cifar10_without_none': 0.75}
    """
    readings = result.get("readings") or {}
    every = {"": result, **{f"_{name}": own for name, own in readings.items()}}
    return {
        f"true_{name}{reading}": value
        for reading, own in every.items()
        for name, value in (own.get("true_accuracy") or {}).items()
    }


def cost(run: Run) -> dict[str, float | None]:
    """Seconds of the search and of compiling, evaluations of a batch's gradient."""
    seconds = run.result.get("seconds") or {}
    return {
        "search_seconds": seconds.get("search"),
        "compile_seconds": seconds.get("compile"),
        "gradient_evaluations": run.result.get("gradient_evaluations"),
    }


def signal(line: Mapping[str, Any], name: str) -> float | None:
    """One of `SIGNALS` of a line of the log: its mean over the cell types."""
    own = [value for key, value in line.items() if key.startswith(f"{name}_")]
    return float(np.mean(own)) if own else None


def signals(run: Run) -> dict[str, float | None]:
    """`SIGNALS` of the architecture found, and the last eigenvalue before it."""
    lines = list(run.lines)
    stop = (run.result.get("stops") or [None])[-1]
    if stop and lines and lines[-1]["epoch"] == stop["epoch_detected"] + 1:
        # The search ended there, and its result is from an earlier epoch.
        lines = [line for line in lines if line["epoch"] <= stop["epoch_returned"] + 1]
    found: dict[str, float | None] = {}
    for name in SIGNALS:
        known = [value for line in lines if (value := signal(line, name)) is not None]
        found[name] = known[-1] if known else None
    measured = verdict.series(lines, "eigenvalue")[1]
    found["eigenvalue"] = float(measured[-1]) if len(measured) else None
    return found


def spread(values: Mapping[int, float | None]) -> dict[str, Any]:
    """Values by seed, their mean, median and deviation; None for undefined ones.

    >>> spread({0: 1.0, 1: 3.0, 2: None})["mean"], spread({0: 1.0})["deviation"]
    (2.0, None)
    """
    known = [value for value in values.values() if value is not None]
    return {
        "values": dict(values),
        "mean": float(np.mean(known)) if known else None,
        "median": float(np.median(known)) if known else None,
        "deviation": float(np.std(known, ddof=1)) if len(known) > 1 else None,
    }


def by_seed(
    own: Mapping[int, Run], read: Callable[[Run], Mapping[str, float | None]]
) -> dict[str, dict[str, Any]]:
    """Name -> `spread` of what `read` returns for every run."""
    each = {seed: read(run) for seed, run in own.items()}
    names = next(iter(each.values()))
    return {n: spread({seed: one[n] for seed, one in each.items()}) for n in names}


def mean_ranks(
    values: Mapping[str, Mapping[int, float]],
    seeds: Sequence[int],
    largest: bool = True,
) -> dict[str, float]:
    """The rank of every set, averaged over seeds that all have; 1 is the best value.

    largest: True if larger values are better.

    Sets of equal values share the mean of their ranks. Empty without seeds.

    >>> mean_ranks({"a": {0: 0.9, 1: 0.8}, "b": {0: 0.9, 1: 0.7}}, [0, 1])
    {'a': 1.25, 'b': 1.75}
    """
    from scipy import stats

    if not seeds:
        return {}
    sign = -1 if largest else 1
    each = [[sign * own[seed] for own in values.values()] for seed in seeds]
    means = np.mean([stats.rankdata(own) for own in each], axis=0)
    return dict(zip(values, means.tolist(), strict=True))
