"""A run: search -> discretise -> retrain -> test.

Random architectures are retrained as well, for comparison. A run of `config.genotype`
has no search.
"""

from __future__ import annotations

import functools
import importlib
import math
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

import nasjax
from nasjax.collapse import rollback
from nasjax.core.errors import needing
from nasjax.core.imports import GIVEN
from nasjax.core.keys import derive
from nasjax.core.origin import origin
from nasjax.engine.compiling import compiled_programs
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import NOTHING, Store, environment
from nasjax.engine.progress import Callback, Progress
from nasjax.engine.signals import signals
from nasjax.engine.workdir import RunFolder
from nasjax.experiment import architecture, line, page, pictures, report
from nasjax.experiment.build import Experiment, build
from nasjax.experiment.defaults import TRACED, free_on_resume
from nasjax.experiment.phases import search_phase
from nasjax.experiment.recorded import Recorded
from nasjax.experiment.trained import Trained, Trainings, finite
from nasjax.spaces.genotype import Genotype


def run(
    config: ConfigDict,
    workdir: str | Path,
    progress: Progress | None = None,
    command: str | None = None,
    code: str | None = None,
    data: Any = None,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Searches, discretises, retrains and tests; the same call again resumes.

    Args:
      config: config from a `get_config`; `nasjax.experiment.defaults` has its fields.
      workdir: folder of the run; it is created if it does not exist.
      progress: display of the progress; plain lines on standard output by default.
      command: command line to record in the manifest.
      code: identifier of the running code (`programs.code`). With it, programs that
        were compiled before are found without tracing them.
      data: arrays instead of the files of `config.data`: (image, label) or
        {"image": image, "label": label}, or two of these in a tuple, for the search and
        for the test; see `nasjax.data.memory.read`. The folder of a run refuses other
        arrays than those that it was started with.
      callbacks: functions (phase, step, metrics), called with every line of the log;
        metrics is a dictionary of numbers by name, None where one is not finite. An
        exception in a callback ends the run after a checkpoint is written.

    Returns:
      The content of `result.json`: "algorithm", "estimator", "seed", "dataset",
      "classes" (names, in the order of the logits),
      "genotype", "metric" (its name, such as accuracy, stands in the names that follow),
      "test_accuracy" (mean over `config.retrain.seeds` trainings), "test_accuracy_each"
      (of each training), "random_test_accuracy" and "random_test_accuracy_each" (the
      same over random architectures), "test_examples" (number of examples of the test),
      "params", "macs" (of the network that is tested), "params_training" (with the
      auxiliary head),
      "reweighted_test_accuracy" (null without config.retrain.reweighted),
      "true_accuracy" (null without a table, see nasjax.spaces.table), "readings"
      ("with_none" and "without_none": "genotype" and "true_accuracy" of alpha read so;
      null where only one is possible), "supernet_valid_accuracy",
      "stops" (see `nasjax.collapse.rollback`), "gradient_evaluations" (number of
      gradients of one batch in the search), "seconds", "interrupted". Accuracies are
      fractions. Means of retrained networks are null without retraining. Without a
      search, "algorithm" is "retrain", and its measures are null, empty or 0.

    Raises:
      UserError: bad input, or a package is missing; nothing has been written or lost.
      nasjax.engine.signals.Interrupted: a signal arrived; a checkpoint was written.
    """
    with needing("nasjax.run"):  # now, not when the report is written
        for package in ("jinja2", "matplotlib", "rich"):
            importlib.import_module(package)
    progress = progress or Progress()
    progress.callbacks = tuple(callbacks)
    experiment = build(architecture.as_begun(config, workdir), data)
    given = {"command": command}
    if config.genotype:
        given["genotype"] = config.genotype
    return _run(experiment, workdir, progress, given, code)


def _run(
    experiment: Experiment,
    workdir: str | Path,
    progress: Progress,
    given: dict[str, str | None],
    code: str | None,
) -> dict[str, Any]:
    config = experiment.config
    resolved = config.to_dict()
    with (
        signals(given["command"]),
        compiled_programs(config.compile_cache, by_jax=code is None) as compiled,
        RunFolder.open(
            workdir, resolved, manifest(experiment, given), free_on_resume()
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
        with progress.waiting("estimating the duration", announced=False):
            opening = report.opening(experiment, folder.path, store)
        progress.line("\n".join(opening))
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
            page.write(
                recorded,
                folder.path / "report.html",
                pictures.draw(recorded, folder.path),
            )
        folder.write_outcome("result", result)
        progress.line(report.closing(result, folder.path))
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
