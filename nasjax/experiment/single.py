"""The course of one run in its open folder: search, discretise, retrain, test, report."""

from __future__ import annotations

import functools
import math
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

import nasjax
from nasjax.collapse import rollback
from nasjax.core.imports import GIVEN
from nasjax.core.keys import derive
from nasjax.core.origin import origin
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import NOTHING, Store, environment
from nasjax.engine.progress import Progress
from nasjax.engine.workdir import RunFolder
from nasjax.experiment import line, page, pictures
from nasjax.experiment.build import Experiment
from nasjax.experiment.defaults import TRACED, free_on_resume
from nasjax.experiment.phases import search_phase
from nasjax.experiment.recorded import Recorded
from nasjax.experiment.trained import Trained, Trainings, finite
from nasjax.spaces.genotype import Genotype


def opened(
    experiment: Experiment, workdir: str | Path, given: dict[str, str | None]
) -> RunFolder:
    """The folder of a run, locked; given: see `manifest`."""
    resolved, about = experiment.config.to_dict(), manifest(experiment, given)
    return RunFolder.open(workdir, resolved, about, free_on_resume())


def complete(
    experiment: Experiment, folder: RunFolder, progress: Progress, store: Store
) -> dict[str, Any]:
    """Takes a run to its end; returns the content of `result.json`.

    Args:
      experiment: the objects of the run.
      folder: of the run, from `opened`; a run in it resumes.
      progress: display of the progress.
      store: of compiled programs, from `store_of`.
    """
    if folder.finished:
        return folder.read_outcome("result") or {}
    trainings = Trainings(experiment, folder, progress, store)
    searched: list[rollback.Searched] = []
    if experiment.genotype is None:
        genotype, searched = _search(
            experiment, folder, progress, store, trainings.prepare
        )
    else:
        genotype = experiment.genotype
        folder.write_outcome("genotype", genotype.to_json())
        trainings.prepare()
    trained = trainings.run(genotype)
    result = _result(experiment, genotype, searched, trained) | {
        "interrupted": folder.interrupted
    }
    recorded = Recorded.of(folder, experiment.space, result)
    with progress.waiting("drawing the pictures", announced=False):
        drawn = pictures.draw(recorded, folder.path)
        page.write(recorded, folder.path / "report.html", drawn)
    folder.write_outcome("result", result)
    return result


def _result(
    experiment: Experiment,
    genotype: Genotype,
    searched: list[rollback.Searched],
    trained: Trained,
) -> dict[str, Any]:
    """The fields of `result.json`. searched: each stage; none without a search."""
    config, metric = experiment.config, experiment.domain.metric
    evaluation, readings = {}, {}
    if searched:
        evaluation = searched[-1].evaluation
        readings = experiment.readings(searched[-1].search, searched[-1].state)
    passed = [outcome for stage in searched for outcome in stage.outcomes]
    both = passed + trained.outcomes
    return {
        "algorithm": config.algorithm if searched else "retrain",
        "estimator": searched[-1].search.name if searched else None,
        "seed": config.seed,
        "dataset": experiment.domain.name,
        "classes": list(experiment.domain.classes),
        "genotype": genotype.to_json(),
        "metric": metric._asdict(),
        **trained.results,
        "true_accuracy": experiment.truth(genotype) or None,
        "readings": readings or None,
        **experiment.domain.size(genotype, experiment.space),
        f"supernet_valid_{metric.name}": finite(
            evaluation.get(f"valid_{metric.name}", math.nan)
        ),
        "stops": [stop._asdict() for stage in searched for stop in stage.stops],
        "gradient_evaluations": round(sum(each.gradients for each in searched), 3),
        "seconds": {
            "compile": sum(outcome.seconds["compile"] for outcome in both),
            "search": sum(outcome.seconds["run"] for outcome in passed),
            "retrain": sum(outcome.seconds["run"] for outcome in trained.outcomes),
        },
    }


def manifest(experiment: Experiment, given: dict[str, str | None]) -> dict[str, Any]:
    """The origin of a run: command, genotype as given, seeds, machine and versions."""
    config = experiment.config
    packages = {name: version(name) for name in ("jax", "flax", "optax", "numpy")}
    return {
        **given,
        "imports": list(GIVEN),
        "seed": config.seed,
        "split_seed": config.data.split_seed,
        "classes": list(experiment.domain.classes),
        "device": experiment.devices.where[0].device_kind,
        "devices": len(experiment.devices.where),
        "python": platform.python_version(),
        # Not from package metadata: a checkout on PYTHONPATH has none.
        "versions": {"nasjax": nasjax.__version__, **packages},
        **origin(),
    }


def _search(
    experiment: Experiment,
    folder: RunFolder,
    progress: Progress,
    store: Store,
    meanwhile: Callable[[], Any],
):
    """Runs all stages; returns the genotype and the result of each stage.

    `meanwhile` is called after the programs of the last stage are compiled.
    """
    config, previous = experiment.config, None
    key = jax.random.key(config.seed)
    searched: list[rollback.Searched] = []
    words = functools.partial(line.words, metric=experiment.domain.metric)
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

            return phase._replace(compile=compile, words=words)

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


def store_of(experiment: Experiment, compiled: Path | None, code: str | None) -> Store:
    """The store of compiled programs for this config and data.

    Its key omits fields that no program depends on or that are arguments of programs.

    Args:
      experiment: config and data.
      compiled: folder of programs, see `compiled_programs`; None keeps nothing.
      code: identifier of the running code; None keeps nothing.
    """
    if not code or not compiled:
        return NOTHING
    config = experiment.config.to_dict()
    for part, field in (name.rpartition(".")[::2] for name in TRACED):
        (config[part] if part else config).pop(field)
    where = environment(list(experiment.devices.where))
    return Store(compiled / "executables", where).of(
        config,
        experiment.domain.depends,
        code,
    )
