"""The one place where strings of the config become objects, and the whole run.

search -> discretise -> retrain (and a random architecture beside it) -> test
"""

from __future__ import annotations

import functools
import platform
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from nasjax import checks, nets, parallel, report, rollback
from nasjax.benchmarks.tabular import DATASETS, Table
from nasjax.compiling import compiled_programs
from nasjax.data import augment as augmentation
from nasjax.data import sources, splits
from nasjax.data.augment import Augment
from nasjax.defaults import HOW, TRACED
from nasjax.errors import UserError
from nasjax.folder import RunFolder
from nasjax.genotype import Genotype, random_genotype
from nasjax.keys import derive
from nasjax.loop import run_phase, signals
from nasjax.nets import Model
from nasjax.optim import Hyper
from nasjax.phases import retrain_phase, search_phase, test_accuracy
from nasjax.programs import NOTHING, Store, environment
from nasjax.progress import Progress
from nasjax.retrain import Training, reweighting, training
from nasjax.saliency import Attack
from nasjax.search import Problem, Search
from nasjax.spaces import CellSpace, Macro
from nasjax.stages import Stage, has_head, stages


class Experiment(NamedTuple):
    """A checked config as objects. Nothing has been written yet."""

    config: ConfigDict
    space: CellSpace
    data: splits.Splits
    data_name: str
    stages: tuple[Stage, ...]
    search: Search  # of the last stage, as are the problem and its edges
    problem: Problem
    search_augment: Augment
    retrain_augment: Augment
    where: list[jax.Device]
    table: Table | None  # of true accuracies

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.data.weights.image.shape[1:]

    @property
    def search_macro(self) -> Macro:
        settings = self.config.search
        return Macro.of_images(
            self.problem.space,
            settings.channels,
            settings.cells,
            self.image_shape,
            search=True,
        )

    @property
    def retrain_macro(self) -> Macro:
        settings = self.config.retrain
        width, depth = settings.channels, settings.cells
        return Macro.of_images(self.space, width, depth, self.image_shape)

    @property
    def auxiliary(self) -> bool:
        """Whether retraining has an auxiliary head: asked for, and its map is 2x2."""
        weight = self.config.retrain.auxiliary
        return has_head(weight, self.retrain_macro, self.image_shape)

    @property
    def attack(self) -> Attack:
        """How saliency is found."""
        return self.problem.attack

    def network(self, genotype: Genotype) -> Model:
        """The network that is retrained."""
        config = self.config
        return nets.genotype_network(
            genotype,
            self.retrain_macro,
            len(self.data.classes),
            self.auxiliary,
            config.lowering,
            parallel.axis_name(config.parallel),
            config.remat,
            config.precision,
        )

    def training(self, model: Model) -> Training:
        """How it is."""
        settings, axis = self.config.retrain, parallel.axis_name(self.config.parallel)
        steps = self.retrain_steps // settings.epochs
        return training(model, self.image_shape, settings, steps, axis)

    def truth(self, genotype: Genotype) -> dict[str, float]:
        """Its accuracies in the table, as fractions, by data set; empty without one."""
        known = self.table.accuracy(genotype) if self.table else {}
        return {name: accuracy / 100 for name, accuracy in known.items()}

    @property
    def retrain_steps(self) -> int:
        """Of the whole retraining."""
        settings, data = self.config.retrain, self.data
        images = len(data.weights.label) + len(data.arch.label)
        return settings.epochs * (images // settings.batch)


def build(config: ConfigDict) -> Experiment:
    """Checks a config and makes its objects; reads the data, writes nothing.

    Raises:
      UserError: anything in the config or the data that cannot work.
    """
    config = checks.config(config)
    space = checks.space(config.space)
    if not config.space.share:
        space = space.separate(config.search.cells)
    train, test, data_name = sources.load(
        config.data.name, config.data.path, config.data.test_path, config.data.shrink
    )
    data = splits.split(train, test, config.data.fractions, config.data.split_seed)
    where = parallel.devices(config.devices)
    table = None
    if config.space.table:
        table = Table.read(config.space.table)
        for column in DATASETS.values():
            table.grid(column)  # refuses one that lacks an architecture
    checks.sizes(config, space, data, len(where))

    known = np.concatenate([data.weights.image, data.arch.image])
    mean, std = augmentation.NORMALISATION.get(data_name, ((), ()))  # as published
    if len(mean) != known.shape[-1]:
        mean, std = augmentation.statistics(known)
    shared = {
        "pad": config.data.pad,
        "flip": config.data.flip,
        "mean": mean,
        "std": std,
    }
    search_augment = Augment(cutout=config.search.cutout, **shared)
    retrain_augment = Augment(cutout=config.retrain.cutout, **shared)
    for augment in (search_augment, retrain_augment):
        augmentation.check(augment, known.shape)

    settings = config.search
    total = settings.epochs * (len(data.weights.label) // settings.batch)
    attack = Attack(
        config.saliency.steps, config.saliency.eps, config.saliency.step, mean, std
    )
    planned = stages(config, space, data, where, attack)
    for stage in planned:
        problem, search = stage.begin(None)
    if not any(search.cadence.due(step) for step in range(total)):
        raise UserError(
            f"Alpha would never move: it is due every {search.cadence.every} weight "
            f"steps after {search.cadence.warmup}, and the search has {total}; lower "
            "--config.arch.every or --config.search.warmup_epochs."
        )
    if config.space.edges == "fixed":
        space = problem.space
    return Experiment(
        config, space, data, data_name, planned, search, problem, search_augment,
        retrain_augment, where, table,
    )  # fmt: skip


def run(
    config: ConfigDict,
    workdir: str | Path,
    progress: Progress | None = None,
    command: str | None = None,
    code: str | None = None,
) -> dict[str, Any]:
    """Searches, discretises, retrains and tests; the same call again resumes.

    Args:
      config: from a `get_config`; see `nasjax.defaults` for every field.
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
      "stops" (see `nasjax.rollback`), "gradient_evaluations" of the search, in batches,
      "seconds", "interrupted". Accuracies are fractions, null without retraining.

    Raises:
      UserError: bad input; nothing has been written or lost.
      nasjax.loop.Interrupted: a signal came; the checkpoint is written.
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
    manifest = {
        "command": command,
        "seed": config.seed,
        "split_seed": config.data.split_seed,
        "device": experiment.where[0].device_kind,
        "devices": len(experiment.where),
        "python": platform.python_version(),
        "versions": {
            n: version(n) for n in ("nasjax", "jax", "flax", "optax", "numpy")
        },
    }
    resolved = config.to_dict()
    with (
        signals(),
        compiled_programs(config.compile_cache, by_jax=code is None) as compiled,
        RunFolder.open(workdir, resolved, manifest, HOW) as folder,
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
        with ThreadPoolExecutor(1) as background:

            def meanwhile() -> None:
                """Compiles what is known to be needed later, while the search runs."""
                if store.folder and config.retrain.epochs and config.retrain.baseline:
                    _, later = retraining(experiment, "", random, retrain_key, store)
                    background.submit(later.prepare)

            genotype, searched = _search(
                experiment, key, folder, progress, store, meanwhile
            )
            trained = {}
            if config.retrain.epochs:
                trained["retrain"] = retrain(
                    experiment,
                    "retrain",
                    genotype,
                    retrain_key,
                    folder,
                    progress,
                    store,
                )
        candidates = dict.fromkeys(trained, genotype)
        if config.retrain.baseline and trained:
            folder.write_outcome("random_genotype", random.to_json())
            candidates["retrain_random"] = random
            trained["retrain_random"] = retrain(
                experiment,
                "retrain_random",
                random,
                retrain_key,
                folder,
                progress,
                store,
            )
        accuracy = {
            name: tested(
                experiment,
                model,
                outcome.state.variables,
                store.of(candidates[name].to_json()),
            )
            for name, (model, outcome) in trained.items()
        }
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
        count = nets.count_genotype(
            genotype,
            macro.channels,
            macro.cells,
            len(experiment.data.classes),
            experiment.image_shape[:2],
            experiment.image_shape[2],
            macro.stem,
        )
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


def _search(
    experiment: Experiment,
    key,
    folder: RunFolder,
    progress: Progress,
    store: Store,
    meanwhile: Callable[[], None],
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
):
    """The network of a genotype and its training as a phase; with the variables `first`,
    on what the network of those reweights."""
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
        name,
        experiment.training(model),
        part,
        experiment.retrain_augment,
        settings.batch,
        Hyper.of(settings),
        key,
        experiment.where,
        config.parallel,
        store.of(genotype.to_json()),
        first,
        reweight,
    )
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
        price and price.costs,
    )
