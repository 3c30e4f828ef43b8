"""A run: search -> discretise -> retrain -> test.

A random architecture is retrained as well, as the baseline.
"""

from __future__ import annotations

import functools
import math
import platform
from collections.abc import Callable
from concurrent.futures import Future
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

import nasjax
from nasjax.collapse import rollback
from nasjax.core.keys import derive
from nasjax.engine.beside import beside
from nasjax.engine.compiling import compiled_programs
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import NOTHING, Store, environment
from nasjax.engine.progress import Progress
from nasjax.engine.signals import signals
from nasjax.engine.workdir import RunFolder
from nasjax.experiment import report
from nasjax.experiment.build import Experiment, build
from nasjax.experiment.defaults import FREE_ON_RESUME, TRACED
from nasjax.experiment.phases import retrain_phase, search_phase, tested
from nasjax.experiment.retrain import retrain
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.rules import random_genotype


def run(
    config: ConfigDict,
    workdir: str | Path,
    progress: Progress | None = None,
    command: str | None = None,
    code: str | None = None,
) -> dict[str, Any]:
    """Searches, discretises, retrains and tests; the same call again resumes.

    Args:
      config: config from a `get_config`; `nasjax.experiment.defaults` has its fields.
      workdir: folder of the run; it is created if it does not exist.
      progress: display of the progress; plain lines on standard output by default.
      command: command line to record in the manifest.
      code: identifier of the running code (`programs.code`). With it, programs that
        were compiled before are found without tracing them.

    Returns:
      The content of `result.json`: "algorithm", "estimator", "seed", "dataset",
      "genotype", "metric" (its name, such as accuracy, stands in the names that follow),
      "test_accuracy", "random_test_accuracy", "params", "macs",
      "reweighted_test_accuracy" (null without config.retrain.reweighted),
      "true_accuracy" (null without config.space.table), "supernet_valid_accuracy",
      "stops" (see `nasjax.collapse.rollback`), "gradient_evaluations" (number of
      gradients of one batch in the search), "seconds", "interrupted". Accuracies are
      fractions. The accuracies of retrained networks are null without retraining.

    Raises:
      UserError: bad input; nothing has been written or lost.
      nasjax.engine.signals.Interrupted: a signal arrived; a checkpoint was written.
    """
    return _run(build(config), workdir, progress or Progress(), command, code)


def _run(
    experiment: Experiment,
    workdir: str | Path,
    progress: Progress,
    command: str | None,
    code: str | None,
) -> dict[str, Any]:
    config = experiment.config
    resolved = config.to_dict()
    with (
        signals(),
        compiled_programs(config.compile_cache, by_jax=code is None) as compiled,
        RunFolder.open(
            workdir, resolved, manifest(experiment, command), FREE_ON_RESUME
        ) as folder,
    ):
        store = NOTHING
        if code and compiled:
            store = _store(experiment, compiled / "executables").of(code)
        if folder.finished:
            result = folder.read_outcome("result") or {}
            progress.line(f"This run is finished; {folder.path} holds its result.")
            progress.line(report.closing(result, folder.path))
            return result
        for line in report.opening(experiment, folder.path, store):
            progress.line(line)
        key = jax.random.key(config.seed)
        random = random_genotype(config.seed, experiment.space)
        retrain_key = derive(key, "retrain")
        baseline = config.retrain.epochs and config.retrain.baseline

        @functools.cache
        def meanwhile() -> Future:
            """Compiles the training of the random architecture during the search."""

            def compile():
                phase = retrain_phase(
                    "", experiment.retraining(random), Hyper.of(config.retrain),
                    retrain_key, experiment.devices, store.of(random.to_json()), True,
                )  # fmt: skip
                return phase.compile(phase.place(phase.init()))

            wanted = store.folder and baseline
            kept = store.of(random.to_json())
            return beside(lambda: wanted and kept.value("compiled", compile))

        genotype, searched = _search(
            experiment, key, folder, progress, store, meanwhile
        )
        trained = {}
        if config.retrain.epochs:
            trained["retrain"] = retrain(
                experiment, "retrain", genotype, retrain_key, folder, progress, store
            )
        candidates = dict.fromkeys(trained, genotype)
        if baseline:
            folder.write_outcome("random_genotype", random.to_json())
            candidates["retrain_random"] = random
            meanwhile().exception()  # waits; after a failure there, compiles now
            trained["retrain_random"] = retrain(
                experiment, "retrain_random", random, retrain_key, folder, progress,
                store,
            )  # fmt: skip
        metric, measured = experiment.domain.metric, {}

        def test(name: str, cell: Genotype) -> None:
            retraining, outcome = trained[name]
            own = store.of(cell.to_json())
            found = tested(retraining, outcome.state, experiment.devices, own)
            measured[name] = _finite(found[metric.name])

        for name, cell in candidates.items():
            test(name, cell)
        if config.retrain.reweighted and candidates:
            first, outcome = trained["retrain"]
            trained["reweighted"] = retrain(
                experiment, "reweighted", genotype, derive(key, "retrain reweighted"),
                folder, progress, store, first.variables(outcome.state),
            )  # fmt: skip
            test("reweighted", genotype)
        retrained = [outcome for _, outcome in trained.values()]
        passed = [outcome for stage in searched for outcome in stage.outcomes]
        result = {
            "algorithm": config.algorithm,
            "estimator": searched[-1].search.name,
            "seed": config.seed,
            "dataset": experiment.domain.name,
            "genotype": genotype.to_json(),
            "metric": metric._asdict(),
            f"test_{metric.name}": measured.get("retrain"),
            f"random_test_{metric.name}": measured.get("retrain_random"),
            f"reweighted_test_{metric.name}": measured.get("reweighted"),
            "true_accuracy": experiment.truth(genotype) or None,
            **experiment.domain.size(genotype, experiment.space),
            f"supernet_valid_{metric.name}": _finite(
                searched[-1].evaluation[f"valid_{metric.name}"]
            ),
            "stops": [stop._asdict() for stage in searched for stop in stage.stops],
            "gradient_evaluations": round(sum(each.gradients for each in searched), 3),
            "seconds": {
                "compile": sum(o.seconds["compile"] for o in passed + retrained),
                "search": sum(o.seconds["run"] for o in passed),
                "retrain": sum(o.seconds["run"] for o in retrained),
            },
            "interrupted": folder.interrupted,
        }
        report.pictures(folder, genotype, experiment.space, metric.name)
        folder.write_outcome("result", result)
        progress.line(report.closing(result, folder.path))
        return result


def _finite(value: float | None) -> float | None:
    """The value as JSON can hold it: None if it is infinite or not a number."""
    return value if value is not None and math.isfinite(value) else None


def manifest(experiment: Experiment, command: str | None) -> dict[str, Any]:
    """The origin of a run: command, seeds, devices and versions."""
    config = experiment.config
    packages = {name: version(name) for name in ("jax", "flax", "optax", "numpy")}
    return {
        "command": command,
        "seed": config.seed,
        "split_seed": config.data.split_seed,
        "device": experiment.devices.where[0].device_kind,
        "devices": len(experiment.devices.where),
        "python": platform.python_version(),
        # Not from package metadata: a checkout on PYTHONPATH has none.
        "versions": {"nasjax": nasjax.__version__, **packages},
    }


def _search(
    experiment: Experiment,
    key,
    folder: RunFolder,
    progress: Progress,
    store: Store,
    meanwhile: Callable[[], Any],
):
    """Runs all stages; returns the genotype and the result of each stage.

    `meanwhile` is called after the programs of the last stage are compiled.
    """
    config, previous = experiment.config, None
    searched: list[rollback.Searched] = []
    watch = rollback.Watch(
        config.collapse.remedy,
        config.collapse.interval,
        config.log_every,
        config.checkpoint_every,
    )
    for stage in experiment.algorithm.stages:
        before = sum(each.gradients for each in searched)
        begin = functools.partial(experiment.begin, stage, previous)

        def phase_of(
            name: str, hyper: Hyper, spent: float,
            stage=stage, begin=begin, before=before,
        ):  # fmt: skip
            phase = search_phase(
                name, begin, hyper, experiment.domain.halves, derive(key, stage.name),
                experiment.devices, folder,
                functools.partial(experiment.monitors, before + spent),
                store.of(stage.name), config.collapse.most_skips,
            )  # fmt: skip

            def compile(state):
                remark = phase.compile(state)
                if stage is experiment.algorithm.stages[-1]:
                    store.value("search", lambda: True)
                    meanwhile()
                return remark

            return phase._replace(compile=compile)

        found = rollback.run(
            stage.name,
            begin,
            phase_of,
            experiment.hyper(stage),
            watch,
            folder,
            progress,
        )
        previous = experiment.outcome(stage, found.search, found.state)
        folder.write_outcome(stage.outcome, previous)
        searched.append(found)
    return Genotype.from_json(previous, found.search.problem.space), searched


def _store(experiment: Experiment, folder: Path) -> Store:
    """The store of compiled programs for this config and data.

    Its key omits fields that no program depends on or that are arguments of programs.
    """
    config = experiment.config.to_dict()
    for part, field in (name.rpartition(".")[::2] for name in TRACED):
        (config[part] if part else config).pop(field)
    return Store(folder, environment(list(experiment.devices.where))).of(
        config,
        experiment.domain.depends,
    )
