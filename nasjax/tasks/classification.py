"""Classification of images, from the data to the test."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from nasjax import nets
from nasjax.core.errors import UserError
from nasjax.data import augment as augmentation
from nasjax.data import sources, splits
from nasjax.data.augment import Augment
from nasjax.data.sizes import Resize
from nasjax.engine import optim
from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.nets import Model
from nasjax.saliency import Attack
from nasjax.spaces import CellSpace, Macro
from nasjax.spaces.genotype import Genotype
from nasjax.tasks import retrain
from nasjax.tasks.base import Maps, Metric, Retraining, Task
from nasjax.tasks.images import METRIC, cutout_ramp, evaluation, images


class Final(NamedTuple):
    """The network that is retrained, as penalties see it.

    Attributes:
      macro: how its cells are stacked.
      classes: number of classes.
      image_shape: (H, W, C).
    """

    macro: Macro
    classes: int
    image_shape: tuple[int, int, int]


class Classification(NamedTuple):
    """Labelled images and the networks that classify them, see `Domain`.

    Attributes:
      name: of the data set.
      data: the split.
      search, retrain, saliency: fields of these groups of the config.
      network: lowering, remat and precision of all networks.
      search_augment: of the images of a search.
      retrain_augment: of the images of retraining.
      notes: sentences on what the images lost when they were read.
    """

    name: str
    data: splits.Splits
    search: Any
    retrain: Any
    saliency: Any
    network: Any
    search_augment: Augment
    retrain_augment: Augment
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the logits."""
        return self.data.classes

    @property
    def metric(self) -> Metric:
        """Accuracy."""
        return METRIC

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.data.weights.image.shape[1:]

    @property
    def halves(self) -> Mapping[str, Any]:
        """ "image" uint8 [N, H, W, C] and "label" int32 [N] of both halves."""
        return {
            "weights": self.data.weights._asdict(),
            "arch": self.data.arch._asdict(),
        }

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of the weights' half."""
        return len(self.data.weights.label) // self.search.batch

    @property
    def depends(self) -> Any:
        """The number of classes and the normalisation."""
        return len(self.data.classes), self.search_augment, self.retrain_augment

    @property
    def attack(self) -> Attack:
        """The attack that finds saliency on the images of a search, without labels."""
        seen = self.search_augment
        found = Attack.of(self.saliency, seen.mean, seen.std)
        return found._replace(target="predicted") if found.target == "label" else found

    def macro(self, space: CellSpace) -> Macro:
        """The stack of cells of a supernet."""
        width, depth = self.search.channels, self.search.cells
        return Macro.of_images(space, width, depth, self.image_shape, search=True)

    def retrain_macro(self, space: CellSpace) -> Macro:
        """The stack of cells of the network that is retrained."""
        width, depth = self.retrain.channels, self.retrain.cells
        return Macro.of_images(space, width, depth, self.image_shape)

    def check(self, space: CellSpace, devices: Devices) -> None:
        """Batches fit their parts and the devices; images survive the reductions."""
        parts = {
            "weight": self.data.weights.label,
            "architecture": self.data.arch.label,
        }
        used = {"search": not self.network.genotype, "retrain": self.retrain.epochs}
        smallest = min(parts, key=lambda name: len(parts[name]))
        known = sum(len(label) for label in parts.values())
        for name, batch, size, where in (
            ("search", self.search.batch, len(parts[smallest]), f"the {smallest} part"),
            ("retrain", self.retrain.batch, known, "the training data"),
        ):
            if not used[name]:
                continue
            if batch > size:
                raise UserError(
                    f"A batch of {batch} is larger than {where}, which has {size} "
                    f"images; set --config.{name}.batch to at most {size}."
                )
            devices.check_batch(batch)
        for settings in (self.search, self.retrain):
            macro = Macro.of_images(
                space, settings.channels, settings.cells, self.image_shape
            )
            try:
                macro.map_sizes(min(self.image_shape[:2]))
            except UserError as error:
                raise UserError(f"{error} {self._read_as()}") from None

    def staged(self, supernet: Mapping[str, Any]) -> Classification:
        """With other fields of `search`."""
        return self._replace(
            search=SimpleNamespace(**{**vars(self.search), **supernet})
        )

    def optimizer(self, hyper: Hyper) -> Callable:
        """SGD with momentum, of clipped gradients."""
        own, decay = self.search, hyper.weight_decay
        return lambda rate, clip=True: optim.sgd(
            rate, own.momentum, decay, own.clip * clip, own.nesterov
        )

    def rate(self, hyper: Hyper) -> Callable:
        """A cosine by epoch."""
        least, steps = hyper.rate_min, self.steps_per_epoch
        return optim.cosine(hyper.rate, least, hyper.epochs, steps)

    def supernet(
        self, space: CellSpace, edge: Callable, hyper: Hyper, axis: str | None
    ) -> Task:
        """Images, classified by the supernet of a space."""
        settings, macro = self.search, self.macro(space)
        model = nets.supernet(
            space, macro, len(self.data.classes), self.network.lowering, axis,
            self.network.remat, self.network.precision,
            self._has_head(settings.auxiliary, macro), edge,
        )  # fmt: skip
        return images(
            model,
            self.image_shape,
            self.search_augment,
            settings.batch,
            self.steps_per_epoch,
            settings.drop_path,
            settings.auxiliary,
            *([cutout_ramp(hyper.epochs)] if settings.cutout_ramp else []),
        )

    def final(self, space: CellSpace) -> Final:
        """Macro, classes and image size."""
        return Final(
            self.retrain_macro(space), len(self.data.classes), self.image_shape
        )

    def model(self, genotype: Genotype, space: CellSpace, axis: str | None) -> Model:
        """The network that is retrained."""
        macro, network = self.retrain_macro(space), self.network
        head = self._has_head(self.retrain.auxiliary, macro)
        return nets.genotype_network(
            genotype, macro, len(self.data.classes), head, network.lowering, axis,
            network.remat, network.precision,
        )  # fmt: skip

    def retraining(
        self, genotype: Genotype, space: CellSpace, devices: Devices, first: Any = None
    ) -> Retraining:
        """The network of a genotype, trained on both halves."""
        data, batch, augment = self.data, self.retrain.batch, self.retrain_augment
        part = {
            "image": np.concatenate([data.weights.image, data.arch.image]),
            "label": np.concatenate([data.weights.label, data.arch.label]),
        }
        model, count = self.model(genotype, space, devices.axis), len(part["label"])
        plain = retrain.training(
            model, self.image_shape, retrain.Recipe.of(self.retrain), count // batch,
            devices,
        )  # fmt: skip
        images_of, both = retrain.reweighting(model, self.attack, self.saliency.mode)
        measure = evaluation(model if first is None else both, augment, batch)
        held = data.test._asdict()
        return retrain.retraining(
            plain, part, augment, batch, measure, held, first, images_of
        )

    def size(self, genotype: Genotype, space: CellSpace) -> dict[str, int]:
        """Parameters and multiply-adds; parameters in training, with auxiliary head."""
        macro, (height, width, colours) = self.retrain_macro(space), self.image_shape

        def count(auxiliary: bool) -> dict[str, int]:
            return nets.count_genotype(
                genotype, macro.channels, macro.cells, len(self.data.classes),
                (height, width), colours, macro.stem, auxiliary,
            )  # fmt: skip

        tested, head = count(False), self._has_head(self.retrain.auxiliary, macro)
        trained = count(True) if head else tested
        return {**tested, "params_training": trained["params"]}

    def describe(self) -> str:
        """Name, size of images, classes and parts."""
        height, width, channels = self.image_shape
        parts = " / ".join(str(len(part.label)) for part in self.data[:3])
        return (
            f"{self.name}: {height}x{width}x{channels} images, "
            f"{len(self.data.classes)} classes, {parts} for weights / architecture / test"
        )

    def describe_supernet(self) -> str:
        """Cells and channels."""
        return f"{self.search.cells} cells, C = {self.search.channels}"

    def remarks(self, space: CellSpace) -> list[str]:
        """Notes on the data, and one where no auxiliary head fits."""
        weight, notes = self.retrain.auxiliary, [f"data: {note}" for note in self.notes]
        if not weight or self._has_head(weight, self.retrain_macro(space)):
            return notes
        return [*notes, "no auxiliary head: its maps would be smaller than 2x2"]

    def maps(self, space: CellSpace) -> tuple[Maps, Maps]:
        """The work of the supernet and of the retrained network."""
        sides = self.image_shape[:2]
        return (
            Maps(self.macro(space), sides, self.search.batch),
            Maps(self.retrain_macro(space), sides, self.retrain.batch),
        )

    def _read_as(self) -> str:
        """The axes of the images, for those who stored channels first."""
        height, width, channels = self.image_shape
        return (
            f"Images were read as [height, width, channels] = [{height}, {width}, "
            f"{channels}]; if {height} is the number of channels, store "
            "image.transpose(0, 2, 3, 1)."
        )

    def _has_head(self, weight: float, macro: Macro) -> bool:
        """True if an auxiliary head is asked for and its map is 2x2."""
        side = macro.map_sizes(min(self.image_shape[:2]))[2 * macro.cells // 3]
        return weight > 0 and side >= 2


def load(settings: Any, arrays: Any = None) -> Classification:
    """Reads and splits the images of a config.

    settings: namespaces data, search, retrain and saliency; lowering, remat, precision.
    arrays: images and labels instead of files, see `nasjax.data.memory.read`.

    Raises:
      UserError: the data cannot be read, split or augmented as asked.
    """
    of = settings.data
    resize = Resize(of.resize, of.crop, of.shrink)
    if arrays is None:
        train, test, name = sources.load(of.name, of.path, of.test_path, resize)
    else:
        train, test, name = sources.given(arrays, of.name, resize)
    judged = settings.retrain.epochs > 0
    data = splits.split(train, test, of.fractions, of.split_seed, judged)
    notes = [*train.notes, *(test.notes if test else ())]
    if absent := len(data.classes) - len(np.unique(data.test.label)):
        notes.append(f"the test part lacks {absent} of {len(data.classes)} classes")
    known = np.concatenate([data.weights.image, data.arch.image])
    mean, std = augmentation.NORMALISATION.get(name, ((), ()))  # as published
    if len(mean) != known.shape[-1]:
        mean, std = augmentation.statistics(known)
    shared = {"pad": of.pad, "flip": of.flip, "mean": mean, "std": std}
    augments = [
        Augment(cutout=group.cutout, **shared)
        for group in (settings.search, settings.retrain)
    ]
    for augment in augments if judged else augments[:1]:
        augmentation.check_augment(augment, known.shape)
    return Classification(
        name, data, settings.search, settings.retrain, settings.saliency, settings,
        augments[0], augments[1], tuple(notes),
    )  # fmt: skip
