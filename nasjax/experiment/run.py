"""The whole run: search -> discretise -> retrain -> test.

A random architecture is retrained beside the one that was found.
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from concurrent.futures import Future
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

import nasjax
from nasjax import nets
from nasjax.collapse import rollback
from nasjax.core.keys import derive
from nasjax.data import splits
from nasjax.engine import parallel
from nasjax.engine.beside import beside
from nasjax.engine.compiling import compiled_programs
from nasjax.engine.loop import run_phase, signals
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import NOTHING, Store, environment
from nasjax.engine.progress import Progress
from nasjax.engine.workdir import RunFolder
from nasjax.experiment import report
from nasjax.experiment.build import Experiment, build
from nasjax.experiment.defaults import HOW, TRACED
from nasjax.experiment.phases import retrain_phase, search_phase, test_accuracy
from nasjax.nets import Model
from nasjax.spaces.genotype import Genotype, random_genotype
from nasjax.tasks.retrain import reweighting


def run(
    config: ConfigDict,
    workdir: str | Path,
    progress: Progress | None = None,
    command: str | None = None,
    code: str | None = None,
) -> dict[str, Any]:
    """Searches, discretises, retrains and tests; the same call again resumes.

    Args:
      config: from a `get_config`; see `nasjax.experiment.defaults` for every field.
      workdir: the run's folder; it is made if it is not there.
      progress: what shows it; plain lines on standard output by default.
      command: recorded in the manifest.
      code: names the code that is running (`programs.code`). With it programs that were
        compiled before are found again without tracing them.

    Returns:
      What `result.json` holds: "algorithm", "estimator", "seed", "dataset",
      "genotype", "test_accuracy", "random_test_accuracy", "params", "macs",
      "reweighted_test_accuracy" (null without config.retrain.reweighted),
      "true_accuracy" (null without config.space.table), "supernet_valid_accuracy",
      "stops" (see `nasjax.collapse.rollback`), "gradient_evaluations" of the search, in batches,
      "seconds", "interrupted". Accuracies are fractions, null without retraining.

    Raises:
      UserError: bad input; nothing has been written or lost.
      nasjax.engine.loop.Interrupted: a signal came; the checkpoint is written.
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
        RunFolder.open(workdir, resolved, manifest(experiment, command), HOW) as folder,
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
            """Compiles beside the search what the random architecture needs."""

            def compile():
                _, phase = retraining(
                    experiment, "", random, retrain_key, store, place=parallel.abstract
                )
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
            meanwhile().exception()  # waits; what failed there is compiled now
            trained["retrain_random"] = retrain(
                experiment, "retrain_random", random, retrain_key, folder, progress,
                store,
            )  # fmt: skip
        accuracy = {}
        for name, (model, outcome) in trained.items():
            own, variables = (
                store.of(candidates[name].to_json()),
                outcome.state.variables,
            )
            accuracy[name] = tested(experiment, model, variables, own)
        if config.retrain.reweighted and candidates:
            first = trained["retrain"][1].state.variables
            model, outcome = trained["reweighted"] = retrain(
                experiment, "reweighted", genotype, derive(key, "retrain reweighted"),
                folder, progress, store, first,
            )  # fmt: skip
            _, both = reweighting(model, experiment.attack, config.saliency.mode)
            variables = {**outcome.state.variables, "first": first}
            accuracy["reweighted"] = tested(
                experiment, both, variables, store.of(genotype.to_json())
            )
        retrained = [outcome for _, outcome in trained.values()]
        passed = [outcome for stage in searched for outcome in stage.outcomes]
        macro = experiment.retrain_macro
        height, width, colours = experiment.image_shape
        count = nets.count_genotype(
            genotype, macro.channels, macro.cells, len(experiment.data.classes),
            (height, width), colours, macro.stem,
        )  # fmt: skip
        result = {
            "algorithm": config.algorithm,
            "estimator": experiment.search.direction.name,
            "seed": config.seed,
            "dataset": experiment.data_name,
            "genotype": genotype.to_json(),
            "test_accuracy": accuracy.get("retrain"),
            "random_test_accuracy": accuracy.get("retrain_random"),
            "reweighted_test_accuracy": accuracy.get("reweighted"),
            "true_accuracy": experiment.truth(genotype) or None,
            **count,
            "supernet_valid_accuracy": searched[-1].evaluation["valid_accuracy"],
            "stops": [stop._asdict() for stage in searched for stop in stage.stops],
            "gradient_evaluations": round(sum(each.gradients for each in searched), 3),
            "seconds": {
                "compile": sum(o.seconds["compile"] for o in passed + retrained),
                "search": sum(o.seconds["run"] for o in passed),
                "retrain": sum(o.seconds["run"] for o in retrained),
            },
            "interrupted": folder.interrupted,
        }
        report.pictures(folder, genotype, experiment.space)
        folder.write_outcome("result", result)
        progress.line(report.closing(result, folder.path))
        return result


def manifest(experiment: Experiment, command: str | None) -> dict[str, Any]:
    """What made a run, beside its config."""
    config = experiment.config
    packages = {name: version(name) for name in ("jax", "flax", "optax", "numpy")}
    return {
        "command": command,
        "seed": config.seed,
        "split_seed": config.data.split_seed,
        "device": experiment.where[0].device_kind,
        "devices": len(experiment.where),
        "python": platform.python_version(),
        # Not from its metadata: a checkout on PYTHONPATH has none.
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
    """The genotype, and what all stages came to; `meanwhile` is called when the last
    stage has its programs."""
    data, previous = experiment.data, None
    searched: list[rollback.Searched] = []
    for stage in experiment.stages:
        before = sum(each.gradients for each in searched)

        begin = functools.partial(stage.begin, previous)

        def phase_of(
            name: str, hyper: Hyper, spent: float,
            stage=stage, begin=begin, before=before,
        ):  # fmt: skip
            phase = search_phase(
                name, begin, hyper, data.weights, data.arch,
                experiment.search_augment, experiment.config,
                derive(key, stage.name), experiment.where, folder,
                store.of(stage.name), experiment.truth, before + spent,
            )  # fmt: skip

            def compile(state):
                remark = phase.compile(state)
                if stage is experiment.stages[-1]:
                    store.value("search", lambda: True)
                    meanwhile()
                return remark

            return phase._replace(compile=compile)

        found = rollback.run(
            stage.name, begin, phase_of, experiment.config, folder, progress
        )
        arch = jax.device_get(found.state.arch)
        previous = stage.finish(found.search, found.problem.space, arch)
        folder.write_outcome(stage.outcome, previous)
        searched.append(found)
    return Genotype.from_json(previous, found.problem.space), searched


def tested(
    experiment: Experiment, model: Model, variables, store: Store = NOTHING
) -> float:
    """Accuracy of a retrained network on the test part."""
    batch = experiment.config.retrain.batch
    return test_accuracy(
        model, variables, experiment.data.test, experiment.retrain_augment, batch,
        experiment.where, store,
    )  # fmt: skip


def retrain(
    experiment: Experiment,
    name: str,
    genotype: Genotype,
    key,
    folder: RunFolder,
    progress: Progress,
    store: Store = NOTHING,
    first: Any = None,
):
    """The network and the outcome of its training."""
    config = experiment.config
    model, phase = retraining(experiment, name, genotype, key, store, first)
    outcome = run_phase(
        phase, folder, progress, config.checkpoint_every, config.log_every
    )
    return model, outcome


def retraining(
    experiment: Experiment,
    name: str,
    genotype: Genotype,
    key,
    store: Store = NOTHING,
    first: Any = None,
    place: Callable = parallel.replicate,
):
    """The network of a genotype and its training as a phase; with the variables `first`,
    on what the network of those reweights. `place`: see `retrain_phase`."""
    config, data = experiment.config, experiment.data
    part = splits.Part(
        np.concatenate([data.weights.image, data.arch.image]),
        np.concatenate([data.weights.label, data.arch.label]),
    )
    settings, model = config.retrain, experiment.network(genotype)
    reweight = None
    if first is not None:
        reweight, _ = reweighting(model, experiment.attack, config.saliency.mode)
    phase = retrain_phase(
        name, experiment.training(model), part, experiment.retrain_augment,
        settings.batch, Hyper.of(settings), key, experiment.where, config.parallel,
        store.of(genotype.to_json()), first, reweight, place,
    )  # fmt: skip
    return model, phase


def _store(experiment: Experiment, folder: Path) -> Store:
    """Where compiled programs of this config and data are kept and found.

    Fields that no program depends on, or that programs take as arguments, are left out.
    """
    config, price = experiment.config.to_dict(), experiment.problem.price
    for part, field in (name.rpartition(".")[::2] for name in TRACED):
        (config[part] if part else config).pop(field)
    return Store(folder, environment(experiment.where)).of(
        config,
        len(experiment.data.classes),
        experiment.search_augment,
        experiment.retrain_augment,
        price and jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), price.costs),
    )
