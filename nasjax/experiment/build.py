"""The one place where a config becomes objects."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from nasjax import nets
from nasjax.core.errors import UserError
from nasjax.data import augment as augmentation
from nasjax.data import sources, splits
from nasjax.data.augment import Augment
from nasjax.engine import optim
from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.experiment import validate
from nasjax.experiment.phases import Halves
from nasjax.monitors.alpha import alpha
from nasjax.monitors.base import Monitor
from nasjax.monitors.budget import penalties
from nasjax.monitors.curvature import curvature
from nasjax.monitors.supernet import gradients, supernet
from nasjax.monitors.truth import truth
from nasjax.nets import Model
from nasjax.saliency import Attack
from nasjax.search import PARTS, Algorithm, Search, Training, compose, parse, search
from nasjax.search.base import Final, Stage
from nasjax.search.penalties.hessian import hessian
from nasjax.search.stages import with_edges
from nasjax.spaces import CellSpace, Macro
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.table import DATASETS, Table
from nasjax.tasks.images import cutout_ramp, images
from nasjax.tasks.retrain import Recipe, training


class Experiment(NamedTuple):
    """A checked config as objects. Nothing has been written yet.

    Attributes:
      config: as it was checked, with the settings of the named parts alone.
      space: whose architectures are found.
      data: the split.
      data_name: of the data.
      algorithm: with all stages.
      search_augment: of the images of a search.
      retrain_augment: of those of retraining.
      devices: that steps are split over.
      table: of true accuracies, or None.
    """

    config: ConfigDict
    space: CellSpace
    data: splits.Splits
    data_name: str
    algorithm: Algorithm
    search_augment: Augment
    retrain_augment: Augment
    devices: Devices
    table: Table | None

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.data.weights.image.shape[1:]

    def macro(self, space: CellSpace) -> Macro:
        """How the cells of the supernet of a space are stacked."""
        settings = self.config.search
        width, depth = settings.channels, settings.cells
        return Macro.of_images(space, width, depth, self.image_shape, search=True)

    @property
    def retrain_macro(self) -> Macro:
        """How the cells of the network that is retrained are stacked."""
        settings = self.config.retrain
        width, depth = settings.channels, settings.cells
        return Macro.of_images(self.space, width, depth, self.image_shape)

    @property
    def auxiliary(self) -> bool:
        """Whether retraining has an auxiliary head: asked for, and its map is 2x2."""
        weight = self.config.retrain.auxiliary
        return _has_head(weight, self.retrain_macro, self.image_shape)

    @property
    def attack(self) -> Attack:
        """How saliency is found on the images of a search."""
        how, seen = self.config.saliency, self.search_augment
        return Attack(how.steps, how.eps, how.step, seen.mean, seen.std)

    @property
    def halves(self) -> Halves:
        """The data of the search."""
        return Halves(self.data.weights, self.data.arch)

    def begin(self, stage: Stage, previous: Any, hyper: Hyper | None = None) -> Search:
        """The search of a stage.

        Args:
          stage: of the algorithm's.
          previous: outcome of the stage before, or None.
          hyper: numbers, which may be traced; None: the config's.

        Raises:
          UserError: a setting that the method refuses.
        """
        settings = self.config.search
        hyper = hyper or Hyper.of(settings)
        algorithm = stage.change(self.algorithm)
        space = stage.space(self.space, previous)
        steps = len(self.data.weights.label) // settings.batch
        own = Training(
            lambda rate, clip=True: optim.sgd(
                rate, settings.momentum, hyper.weight_decay, settings.clip * clip
            ),
            optim.cosine(hyper.rate, hyper.rate_min, hyper.epochs, steps),
            hyper.epochs,
            steps,
            settings.warmup_epochs,
        )
        final = Final(self.retrain_macro, len(self.data.classes), self.image_shape)
        made = algorithm._replace(penalties=(*algorithm.penalties, *self._penalties()))
        task = functools.partial(self._task, space, algorithm.edge, hyper)
        try:
            return search(
                made, space, task, own, self.devices, settings.alpha_spread, final
            )
        except ValueError as error:  # a setting that the method itself refuses
            raise UserError(f"{error} Set it with --config.arch.NAME.FIELD.") from None

    def _task(self, space: CellSpace, edge: Callable, hyper: Hyper, axis: str | None):
        """Images, classified by the supernet of a space."""
        config, settings = self.config, self.config.search
        macro = self.macro(space)
        model = nets.supernet(
            space, macro, len(self.data.classes), config.lowering, axis, config.remat,
            config.precision, _has_head(settings.auxiliary, macro, self.image_shape),
            edge,
        )  # fmt: skip
        return images(
            model,
            self.image_shape,
            self.search_augment,
            settings.batch,
            len(self.data.weights.label) // settings.batch,
            settings.drop_path,
            settings.auxiliary,
            *([cutout_ramp(hyper.epochs)] if settings.cutout_ramp else []),
        )

    def _penalties(self) -> Sequence[Callable]:
        weight = self.config.collapse.penalty
        return [lambda *at: hessian(weight)] if weight else []

    def monitors(self, spent: float, search: Search) -> list[Monitor]:
        """What is measured while a search runs.

        spent: gradients that were evaluated before the phase.
        """
        settings, problem = self.config.collapse, search.problem
        found = [supernet(search), gradients(search, spent), alpha(problem.space)]
        if self.table:
            found.append(truth(self.truth))
        if any(penalty.report for penalty in problem.penalties):
            found.append(penalties(search))
        if settings.interval:
            sizes = settings.images, settings.products, settings.probes
            own = curvature(search, self.search_augment, settings.interval, *sizes)
            found.append(own)
        return found

    def network(self, genotype: Genotype) -> Model:
        """The network that is retrained."""
        config = self.config
        return nets.genotype_network(
            genotype, self.retrain_macro, len(self.data.classes), self.auxiliary,
            config.lowering, self.devices.axis, config.remat, config.precision,
        )  # fmt: skip

    def training(self, model: Model):
        """How it is trained."""
        settings = self.config.retrain
        steps = self.retrain_steps // settings.epochs
        recipe = Recipe.of(settings)
        return training(model, self.image_shape, recipe, steps, self.devices)

    def truth(self, genotype: Genotype) -> dict[str, float]:
        """Its accuracies in the table, as fractions, by data set; empty without one."""
        known = self.table.accuracy(genotype) if self.table else {}
        return {name: accuracy / 100 for name, accuracy in known.items()}

    @property
    def retrain_steps(self) -> int:
        """Of the whole retraining."""
        settings, data = self.config.retrain, self.data
        known = len(data.weights.label) + len(data.arch.label)
        return settings.epochs * (known // settings.batch)

    def outcome(self, stage: Stage, search: Search, state: Any) -> Any:
        """What a stage found, as JSON."""
        if stage.finish:
            return stage.finish(jax.device_get(state.arch), search.problem.space)
        mix = jax.device_get(jax.jit(search.mix)(state))
        return search.genotype(mix, self.config.collapse.most_skips).to_json()


def build(given: ConfigDict) -> Experiment:
    """Checks a config and makes its objects; reads the data, writes nothing.

    Raises:
      UserError: anything in the config or the data that cannot work.
    """
    config = validate.config(given)
    space = validate.space(config.space)
    if not config.space.share:
        space = space.separate(config.search.cells)
    train, test, data_name = sources.load(
        config.data.name, config.data.path, config.data.test_path, config.data.shrink
    )
    data = splits.split(train, test, config.data.fractions, config.data.split_seed)
    devices = Devices.of(config.devices, config.parallel)
    table = None
    if config.space.table:
        table = Table.read(config.space.table)
        for column in DATASETS.values():
            table.grid(column)  # refuses one that lacks an architecture
    validate.sizes(config, space, data, devices)

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
        augmentation.check_augment(augment, known.shape)

    made = Experiment(
        config, space, data, data_name, _algorithm(config), search_augment,
        retrain_augment, devices, table,
    )  # fmt: skip
    for stage in made.algorithm.stages:
        last = made.begin(stage, None)
    _check_cadence(last)
    if config.space.edges == "fixed":
        made = made._replace(space=last.problem.space)
    return made


def _algorithm(config: ConfigDict) -> Algorithm:
    """The algorithm that the config names, with its edges treated as it says."""
    settings = {}
    for name in parse(config.algorithm):
        shared = {group: config[group] for group in PARTS[name].shares}
        settings[name] = SimpleNamespace(**config.arch[name], **shared)
    try:
        algorithm = compose(config.algorithm, settings)
    except ValueError as error:  # a setting that the method itself refuses
        raise UserError(f"{error} Set it with --config.arch.NAME.FIELD.") from None
    return with_edges(algorithm, config.space.edges)


def _check_cadence(search: Search) -> None:
    """Refuses a search in which alpha would never move."""
    training, cadence = search.problem.training, search.program("alpha").cadence
    total = training.epochs * training.steps_per_epoch
    if not any(cadence.due(step) for step in range(total)):
        raise UserError(
            f"Alpha would never move: it is due every {cadence.every} weight steps after "
            f"{cadence.warmup}, and the search has {total}; lower "
            "--config.arch.NAME.every or --config.search.warmup_epochs."
        )


def _has_head(weight: float, macro: Macro, image_shape: tuple[int, ...]) -> bool:
    """Whether there is an auxiliary head: it is asked for, and its map is 2x2."""
    side = macro.map_sizes(min(image_shape[:2]))[2 * macro.cells // 3]
    return weight > 0 and side >= 2
