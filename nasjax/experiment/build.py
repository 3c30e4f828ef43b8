"""The one place where strings of the config become objects."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from nasjax import nets
from nasjax.core.errors import UserError
from nasjax.data import augment as augmentation
from nasjax.data import sources, splits
from nasjax.data.augment import Augment
from nasjax.engine import parallel
from nasjax.experiment import validate
from nasjax.experiment.stages import Stage, has_head, stages
from nasjax.nets import Model
from nasjax.saliency import Attack
from nasjax.search import Problem, Search
from nasjax.spaces import CellSpace, Macro
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.table import DATASETS, Table
from nasjax.tasks.retrain import Training, training


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
    config = validate.config(config)
    space = validate.space(config.space)
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
    validate.sizes(config, space, data, len(where))

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
