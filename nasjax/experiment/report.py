"""The messages of a run at its start and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasjax.engine.platforms import unused
from nasjax.engine.programs import Store
from nasjax.experiment import estimate
from nasjax.experiment.outcome import Outcome
from nasjax.plots import genotypes
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.known import known_space
from nasjax.tasks.base import Metric

if TYPE_CHECKING:
    from nasjax.experiment.build import Experiment

# Times over their estimates. The measurement is of one edge and one moment; other work
# on the machine made whole runs take up to twice as long.
FASTEST, SLOWEST = 0.7, 2.0
SEARCHED = "alpha.png, collapse.png, "
# Flags to add to the command of a run.
FURTHER = (
    "  --config.seed=1                       another seed",
    "  --config.algorithm=random_search      the baseline",
)
RETRAINED = (
    "  --config.retrain.seeds=3              a mean and a deviation",
    "  --config.retrain.epochs=100           longer",
)
OWN = "  --config.data.path=FILE_OR_FOLDER     your own images"


def opening(
    experiment: Experiment, path: Path, store: Store, seeds: str = ""
) -> list[str]:
    """Lines that describe a run, or runs of several seeds, and estimate the duration.

    Args:
      experiment: the objects of the run.
      path: folder of the run.
      store: store of compiled programs and of the measurement for the estimate.
      seeds: which, and how they run; "": the seed of the config.
    """
    config, domain = experiment.config, experiment.domain
    last = experiment.begin(experiment.algorithm.stages[-1], None)
    space, where = last.problem.space, experiment.devices.where
    operations = space.alpha_shape(space.types[0])[1]
    about = (
        f"{config.algorithm} ({last.name}) on {domain.describe()}",
        f"supernet: {domain.describe_supernet()}, {operations} operations on an edge",
    )
    if experiment.genotype is not None:
        about = (
            f"training of a given architecture on {domain.describe()}",
            f"{config.retrain.cells} cells, {config.retrain.channels} channels, "
            f"{config.retrain.epochs} epoch(s), {config.retrain.seeds} training(s)",
        )
    lines = [
        about[0],
        f"{about[1]}; {len(where)} {where[0].platform} device(s); "
        f"{seeds or f'seed {config.seed}'}",
        f"{'one seed alone: ' * bool(seeds)}{_estimate(experiment, store)}",
        f"writing to {path}; stop it at any time, the same command resumes it",
    ]
    return lines + domain.remarks(experiment.space) + list(filter(None, [unused()]))


def _estimate(experiment: Experiment, store: Store) -> str:
    maps = experiment.domain.maps(experiment.space)
    if maps is None:
        return "how long it will take is not estimated for this kind of data"
    try:
        measure = lambda: estimate.of(experiment, maps[0])
        edge = estimate.Edge(*store.value("edge", measure))
    except Exception as error:  # whatever it is, a run can do without an estimate
        return f"how long it will take could not be estimated ({type(error).__name__})"
    searching, retraining, running = estimate.seconds(experiment, edge, maps)
    compiling = f"{_between(searching + retraining)} compiling"
    if store.knows("search"):  # of the search; programs of retraining may be missing
        rest = f"at most {_rough(SLOWEST * retraining)} compiling"
        compiling = rest if retraining else "nothing to compile"
    return (
        f"estimated from a small measurement: {compiling}, {_between(running)} running"
    )


def closing(result: Mapping[str, Any], path: Path) -> str:
    """The message at the end of a run; without what an older version did not write."""
    metric = Metric.of(result)
    name, text = metric.name, metric.text
    second = result.get(f"reweighted_test_{name}")
    of_search, further = SEARCHED, FURTHER
    if result.get("algorithm") == "retrain":
        of_search, further = "", RETRAINED
    accuracies = list(filter(None, [Outcome.of(result).text()]))
    if second is not None:
        accuracies.append(f"on images reweighted by their saliency: {text(second)}")
    found, known = result.get("genotype"), result.get("true_accuracy")
    if known:
        accuracies.append(f"true test accuracy, from the table: {_percent(known)}")
    for name, own in (result.get("readings") or {}).items():
        if own["genotype"] != found and own["true_accuracy"]:
            words = name.replace("_", " ").replace("none", "'none'")
            accuracies.append(
                f"{words} in alpha's choices: {_percent(own['true_accuracy'])}"
            )
    cells = [genotypes.text(_found(found)), ""] if found else []
    return "\n".join(
        [
            "",
            *cells,
            *accuracies,
            *filter(None, (_size(result), _time(result))),
            f"everything is in {path}: genotype.json, result.json, cells.png, {of_search}"
            "curves.png, report.html, metrics.jsonl, checkpoints/",
            "",
            "what to try next:",
            f"  nasjax show {path}",
            f"  nasjax retrain {path} --epochs=60",
            "or the same command with another --workdir and",
            *further,
            *([OWN] if result.get("dataset") == "digits" else []),
        ]
    )


def _percent(accuracies: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2%}" for name, value in accuracies.items())


def of_seed(result: Mapping[str, Any], path: Path) -> str:
    """The line at the end of one of several seeds."""
    metric = Metric.of(result)
    found = Outcome.of(result).text().partition("\n")[0]
    if not found and (value := result.get(f"supernet_valid_{metric.name}")) is not None:
        found = f"supernet's {metric.name} {metric.text(value)}"
    return "; ".join(filter(None, [found, f"everything is in {path}"]))


def _size(result: Mapping[str, Any]) -> str:
    """Parameters, in training too where the auxiliary head adds some; multiply-adds."""
    metric, counts = Metric.of(result), []
    if (own := result.get("params")) is not None:
        trained = result.get("params_training") or own
        head = f" ({trained:,} in training, with the auxiliary head)"
        counts.append(f"{own:,} parameters{head if trained != own else ''}")
    if result.get("macs") is not None:
        counts.append(f"{result['macs']:,} multiply-adds")
    parts = [", ".join(counts)]
    if (supernet := result.get(f"supernet_valid_{metric.name}")) is not None:
        parts.append(f"supernet's {metric.name} {metric.text(supernet)}")
    return "; ".join(filter(None, parts))


def _time(result: Mapping[str, Any]) -> str:
    spent = result.get("seconds") or {}
    names = {"compile": "compiling", "search": "searching", "retrain": "retraining"}
    if result.get("algorithm") == "retrain":
        del names["search"]
    each = (f"{spent[k]:.0f} s {word}" for k, word in names.items() if k in spent)
    return ", ".join(each)


def _found(data: dict[str, Any]) -> Genotype:
    """The genotype of a result, which may contain user-defined operations."""
    cells = data.get("cells") or {kind: data[kind] for kind in ("normal", "reduce")}
    operations = tuple(dict.fromkeys(op for own in cells.values() for op, _ in own))
    space = known_space(data["space"])._replace(primitives=operations)
    return Genotype.from_json(data, space)


def _between(seconds: float) -> str:
    """The range of an estimate.

    >>> _between(60), _between(600), _between(2), _between(9000)
    ('40 s to 2 min', '7 to 20 min', 'about 10 s', '2 to 5 h')
    """
    low, high = _rough(FASTEST * seconds), _rough(SLOWEST * seconds)
    if low == high:
        return f"about {high}"
    number, unit = low.split()
    return f"{number if high.endswith(f' {unit}') else low} to {high}"


def _rough(seconds: float) -> str:
    if seconds < 90:
        return f"{max(10 * round(seconds / 10), 10)} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
