"""Finished runs side by side: sets of seeds, means, ranks, tests, cost, collapse."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasjax.analysis import pairs, runs
from nasjax.analysis.scores import (
    Run,
    by_seed,
    cost,
    mean_ranks,
    signals,
    spread,
    truths,
    value_of,
)
from nasjax.analysis.significance import above_random
from nasjax.collapse import verdict
from nasjax.core.errors import UserError
from nasjax.engine.workdir import RunFolder, flat
from nasjax.experiment.defaults import free_on_resume
from nasjax.experiment.outcome import Outcome
from nasjax.spaces.table import DATASETS, packaged
from nasjax.tasks.base import Metric

SAME = ("seed", "devices", "parallel")  # runs that differ in these are one set
METRICS = (
    "test_{}",
    "true_cifar10",
    "supernet_valid_{}",
)  # of preference; {}: the judge
PERCENT = Metric("true", True, "{:.2%}")  # of an architecture in a table
QUANTILES = (5, 25, 50, 75, 95)  # of all architectures, in percent

Sets = Mapping[str, Mapping[int, Run]]  # name -> seed -> run


def find(folders: Sequence[str]) -> tuple[list[str], list[str]]:
    """Folders of runs to compare, and folders of unfinished runs, which are left out.

    A folder that contains runs, such as a sweep's, stands for its finished runs.

    Raises:
      UserError: no run is finished.
    """
    chosen: list[str] = []
    left: list[str] = []
    for folder in folders:
        path = Path(folder).expanduser()
        if path.suffix == ".log" and os.path.isfile(path):
            continue  # log of a sweep's run; a pattern such as runs/a-* matches it
        known = os.path.isdir(path)  # also False for names that the system refuses
        inner = sorted(p.parent for p in path.glob("*/config.json")) if known else []
        if not inner or (path / "config.json").exists():
            chosen.append(folder)
            continue
        for each in inner:
            done = (Path(each) / "result.json").exists()
            (chosen if done else left).append(str(each))
    if not chosen:
        raise UserError(
            f"None of the {len(left)} runs in {' and '.join(folders)} is finished; "
            "resume them with the commands that started them."
        )
    return chosen, left


def sets(folders: Sequence[str]) -> Sets:
    """Set -> seed -> run.

    The configs of a set differ only in the seed and the other fields of `SAME`. The
    name of a set is the algorithm, with the fields in which sets of the same algorithm
    differ.

    Raises:
      UserError: a folder holds no finished run; two runs have the same config and seed;
        the runs use different data.
    """
    found: list[tuple[dict[str, Any], dict[int, Run]]] = []
    same = (*SAME, *free_on_resume())
    for folder in folders:
        opened = RunFolder.read(folder)
        config, result = runs.config_of(opened), opened.read_outcome("result")
        if result is None:
            raise UserError(
                f"{folder} is not a finished run; start it again to resume it, or "
                "leave it out."
            )
        fields = flat(config.to_dict())
        identity = {k: v for k, v in fields.items() if k not in same}
        own = next((one for known, one in found if known == identity), None)
        if own is None:
            own = {}
            found.append((identity, own))
        if config.seed in own:
            raise UserError(
                f"{folder} repeats seed {config.seed} of {config.algorithm}; give each "
                "run once."
            )
        lines = [line for line in opened.metrics() if "mix" not in line]
        own[config.seed] = Run(str(folder), result, verdict.followed(lines))
    every = [one.result.get("dataset") for _, own in found for one in own.values()]
    data = sorted({name for name in every if name})
    if len(data) > 1:
        raise UserError(
            f"The runs are on {' and '.join(data)}; give runs on the same data."
        )
    known = [identity for identity, _ in found]
    return {
        _name(identity, known): dict(sorted(own.items())) for identity, own in found
    }


def measure(
    found: Sets,
    baseline: str = "",
    metrics: Sequence[str] = (),
    against: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """All numbers of a comparison, the content of compare.json.

    Args:
      found: sets of runs, from `sets`.
      baseline: set that the others are tested against; empty: the first set.
      metrics: fractions of result.json, or true accuracies, see `scores.truths`;
        empty: the first of `METRICS` that all runs have.
      against: set -> the set that it is tested against instead of the baseline.

    Returns:
      "baseline"; "shared_seeds", which all sets have; "forms" of the metrics, for
      `str.format`; "unpaired": sentences on seeds that only one of two sets has;
      "all_architectures": metric -> "count", "mean", "deviation", "best" and
      "quantiles" of the packaged table, of true accuracies only; "sets": name ->
      "seeds", "folders", "metrics", "test" (of the architectures found and of random
      cells, over all seeds: values, number of test examples, standard error of a test
      of that size, a sentence on the difference, the p-value of
      `nasjax.analysis.significance.above_random`), "cost" (seconds of the
      search and of compiling, and evaluations of a batch's gradient) and "signals" (of the
      architecture found, means over cell types; entropy of alpha in nats; the last
      eigenvalue that was measured).
      Every number has "values" by seed (None where a run does not have it), a "mean",
      a "median" and a sample "deviation". Metrics also have "best", "mean_rank" (over
      the shared seeds, 1 is the best), "percentiles" by seed (of true accuracies: the
      percentage of all architectures that have a lower one) and "paired", the comparison
      with another set, or None: "against", "seeds" that both have, the fields of
      `nasjax.analysis.significance.Paired`, "p_holm", corrected for the number of sets
      that are tested, and "p_welch" and "p_one_sample" of `t_test`.

    Raises:
      UserError: there is no such set, or no such number.
    """
    baseline = baseline or next(iter(found))
    bases = pairs.bases(found, baseline, against or {})
    shared = sorted(set.intersection(*(set(own) for own in found.values())))
    report: dict[str, Any] = {
        "baseline": baseline,
        "shared_seeds": shared,
        "forms": {},
        "unpaired": pairs.unpaired(found, bases),
        "all_architectures": {},
        "sets": {
            name: {
                "seeds": list(own),
                "folders": {seed: run.folder for seed, run in own.items()},
                "metrics": {},
                "test": _test([run.result for run in own.values()]),
                "cost": by_seed(own, cost),
                "signals": by_seed(own, signals),
            }
            for name, own in found.items()
        },
    }
    for metric in dict.fromkeys(metrics or [_default(found)]):
        values = {name: _values(name, own, metric) for name, own in found.items()}
        judge, every = _judge(metric, found), _all(metric)
        best = max if judge.higher_is_better else min
        ranks = mean_ranks(values, shared, judge.higher_is_better)
        tests = pairs.compared(values, bases, judge.higher_is_better)
        report["forms"][metric] = judge.form
        if every is not None:
            report["all_architectures"][metric] = _population(every)
        for name, own in values.items():
            report["sets"][name]["metrics"][metric] = spread(own) | {
                "best": best(own.values()),
                "mean_rank": ranks.get(name),
                "percentiles": _percentiles(own, every),
                "paired": tests.get(name),
            }
    return report


def _all(metric: str) -> np.ndarray | None:
    """The values of all architectures of the packaged table; None of other metrics."""
    if not metric.startswith("true_"):
        return None
    column = DATASETS.get(metric.removeprefix("true_"))
    return None if column is None else packaged().column(column) / 100


def _population(every: np.ndarray) -> dict[str, Any]:
    quantiles = np.percentile(every, QUANTILES).tolist()
    return {
        "count": len(every),
        "mean": float(every.mean()),
        "deviation": float(every.std()),  # of all there are
        "best": float(every.max()),
        "quantiles": dict(zip(QUANTILES, quantiles, strict=True)),
    }


def _percentiles(
    own: Mapping[int, float], every: np.ndarray | None
) -> dict[int, float] | None:
    """Seed -> percentage of all architectures that have a lower value."""
    if every is None:
        return None
    return {seed: 100 * float((every < value).mean()) for seed, value in own.items()}


def _test(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    outcome = Outcome.joined(results)
    sign = 1 if outcome.metric.higher_is_better else -1
    each = [Outcome.of(result) for result in results]
    seeds = [
        (sign * statistics.mean(one.found), [sign * value for value in one.random])
        for one in each
        if one.found
    ]
    return {
        "metric": outcome.metric._asdict(),
        "found": outcome.found,
        "random": outcome.random,
        "examples": outcome.examples,
        "standard_error": outcome.error,
        "difference": outcome.difference,
        "judgement": _reading(seeds) if len(seeds) > 1 else outcome.judgement(),
        "p_above_random": above_random(seeds),
    }


def _reading(seeds: Sequence[tuple[float, Sequence[float]]]) -> str:
    """How often found is better than all random cells; more is better."""
    beside = [(found, max(random)) for found, random in seeds if len(random)]
    if not beside:
        return ""
    best = sum(found > random for found, random in beside)
    count = f"{best} of {len(beside)} seeds"
    return f"Better than all random cells of its seed in {count}."


def _default(found: Sets) -> str:
    every = [run.result for own in found.values() for run in own.values()]
    names = [metric.format(Metric.of(every[0]).name) for metric in METRICS]
    for metric in names:
        if all(value_of(result, metric) is not None for result in every):
            return metric
    raise UserError(
        f"There is none of {', '.join(names)} that all runs have; compare those that "
        "were retrained and those that were not by themselves, or name a --metric."
    )


def _judge(metric: str, found: Sets) -> Metric:
    """How a metric is read, and which of its values are better."""
    if metric.startswith("true_"):
        return PERCENT
    return Metric.of(next(iter(next(iter(found.values())).values())).result)


def _values(name: str, own: Mapping[int, Run], metric: str) -> dict[int, float]:
    values = {seed: value_of(run.result, metric) for seed, run in own.items()}
    known = {seed: value for seed, value in values.items() if value is not None}
    if len(known) < len(values):
        result = next(iter(own.values())).result
        names = [*result, *truths(result)]
        held = [each for each in names if value_of(result, each) is not None]
        raise UserError(
            f"Not all runs of {name} have {metric!r}; their results hold "
            f"{', '.join(held)}."
        )
    return known


def _name(identity: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> str:
    kin = [one for one in every if one["algorithm"] == identity["algorithm"]]
    differing = [
        key for key in identity if any(one.get(key) != identity[key] for one in kin)
    ]
    return " ".join([identity["algorithm"], *(f"{k}={identity[k]}" for k in differing)])
