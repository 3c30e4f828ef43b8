"""Contracts of tasks: `Task`, which a search trains, and `Domain`, from data to test.

Another kind of data is a file with both, and its row in `nasjax.tasks.DOMAINS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

from jax import Array

from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.spaces import CellSpace, Macro
from nasjax.spaces.genotype import Genotype


class At(NamedTuple):
    """The progress of a search. It is the field "at" of a batch, and may be traced.

    Attributes:
      key: typed key for all randomness of a relaxation; None: no randomness, as in
        evaluation.
      progress: epoch / epochs, in [0, 1).
      epochs: number of epochs of the search.
    """

    key: Array | None = None
    progress: Array | float = 0.0
    epochs: Array | int = 1


class Metric(NamedTuple):
    """A number that measures the quality of a network on a task.

    Attributes:
      name: as in the log.
      higher_is_better: False for losses and perplexities.
      form: how a person reads it, for `str.format`.
    """

    name: str
    higher_is_better: bool
    form: str = "{:.4g}"

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Metric:
        """The metric of a result.json; accuracy if an older version wrote it."""
        old = {"name": "accuracy", "higher_is_better": True, "form": "{:.2%}"}
        given = old | (result.get("metric") or {})
        return cls(**{field: given[field] for field in cls._fields})

    def text(self, value: float) -> str:
        """A value as a person reads it.

        >>> Metric("accuracy", True, "{:.2%}").text(0.5)
        '50.00%'
        """
        return self.form.format(value)


class Network(NamedTuple):
    """The parts of a network that training changes.

    Attributes:
      w: weights.
      batch_stats: running statistics of batch norm.
      opt: state of the optimiser.
    """

    w: Any
    batch_stats: Any
    opt: Any


class Task(NamedTuple):
    """A task as pure functions.

    A batch is a dictionary with the fields of the task, and with "batch_stats", which
    is only read, and "at".

    Attributes:
      init: key -> (w, batch_stats) of the network.
      outputs: (w, mix, batch, train) -> (outputs, batch_stats). mix: cell type ->
        `Weights`.
      objective: (outputs, batch) -> scalar, what weights minimise; convex in outputs.
      criterion: (outputs, batch) -> scalar, what alpha minimises.
      scores: (outputs, batch) -> scalars by name, logged beside the objective.
      draw: (part, key, step, order) -> batch: in the order of epochs by the key `order`,
        or drawn afresh where that is None.
      clean: (part, key, count) -> batch of `count` random examples as in evaluation.
      measure: (w, batch_stats, mix, part) -> "loss" and the domain's metric, of a full
        part.
      pixels: (mean, std) by which images were normalised; None for other tasks.
      stream: entry of batch_stats that flows from each batch to the next of its half,
        such as the hidden state of a language model; None: batches are independent.
        Batches of a stream are drawn in order, on one device; `step` of `draw` counts
        the batches of the half before.
    """

    init: Callable
    outputs: Callable
    objective: Callable
    criterion: Callable
    scores: Callable
    draw: Callable
    clean: Callable
    measure: Callable
    pixels: tuple | None = None
    stream: str | None = None


class Retraining(NamedTuple):
    """The network of a genotype, trained from scratch. Functions are pure.

    Attributes:
      init: key -> state.
      step: (state, *batches, `Hyper` of arrays) -> (state, metrics).
      batches: (data, state) -> tuple of batches.
      axes: of each batch the axis that devices split, see `Devices.step`.
      data: pytree of arrays that batches are drawn from.
      steps_per_epoch: batches in an epoch.
      variables: state -> what `test` takes.
      test: (variables, part) -> scalars by name, with the domain's metric.
      held: the test part, pytree of arrays.
    """

    init: Callable
    step: Callable
    batches: Callable
    axes: tuple[int | None, ...]
    data: Any
    steps_per_epoch: int
    variables: Callable
    test: Callable
    held: Any


class Maps(NamedTuple):
    """A convolutional network's work, from which the time of a run is estimated.

    Attributes:
      macro: how its cells are stacked.
      sides: (height, width) of an image, pixels.
      batch: images in a batch.
    """

    macro: Macro
    sides: tuple[int, int]
    batch: int


class Domain(Protocol):
    """Data of a kind, and the networks that learn from it, as an experiment uses them."""

    @property
    def name(self) -> str:
        """The data set."""

    @property
    def metric(self) -> Metric:
        """The number that judges. Measures, scores and tests have it under its name."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; () for data without classes."""

    @property
    def halves(self) -> Mapping[str, Any]:
        """ "weights" and "arch", what the weights and alpha train on: pytrees of arrays
        that lead with [N]."""

    @property
    def steps_per_epoch(self) -> int:
        """Weight steps in an epoch of a search."""

    @property
    def depends(self) -> Any:
        """What programs depend on beyond config and shapes: numbers and words, which
        are compared by repr (not arrays, which repr cuts short)."""

    def check(self, space: CellSpace, devices: Devices) -> None:
        """Refuses settings, networks and batches that cannot be, such as
        `retrain.reweighted` without images.

        Raises:
          UserError: they cannot.
        """

    def staged(self, supernet: Mapping[str, Any]) -> Domain:
        """The domain in a stage that changes these fields of `config.search`."""

    def optimizer(self, hyper: Hyper) -> Callable:
        """(rate, clip=True) -> optimiser of the supernet's weights."""

    def rate(self, hyper: Hyper) -> Callable:
        """Schedule of the supernet's learning rate, by weight step."""

    def supernet(
        self, space: CellSpace, edge: Callable, hyper: Hyper, axis: str | None
    ) -> Task:
        """What a search trains. axis: the mapped axis of devices, or None."""

    def final(self, space: CellSpace) -> Any:
        """The network that is retrained, as penalties see it."""

    def retraining(
        self, genotype: Genotype, space: CellSpace, devices: Devices, first: Any = None
    ) -> Retraining:
        """The network of a genotype and its training.

        first: variables of another network, by whose saliency images are reweighted.
        """

    def size(self, genotype: Genotype, space: CellSpace) -> dict[str, int]:
        """{"params", "macs"} of the network that is tested, and "params_training", of
        the network in training, if its auxiliary head adds to them."""

    def describe(self) -> str:
        """The data in words."""

    def describe_supernet(self) -> str:
        """The size of the supernet in words."""

    def remarks(self, space: CellSpace) -> list[str]:
        """Sentences about settings that have no effect here."""

    def maps(self, space: CellSpace) -> tuple[Maps, Maps] | None:
        """The work of the supernet and of the retrained network, if it is known."""
