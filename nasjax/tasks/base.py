"""The contract between a search and what it trains: images today, text in the same way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array


class At(NamedTuple):
    """Where a search stands. It travels with a batch, under "at", and may be traced.

    Attributes:
      key: of all randomness of a relaxation; None: no randomness (evaluation, reading).
      progress: epoch / epochs, in [0, 1).
    """

    key: Array | None = None
    progress: Array | float = 0.0


class Metric(NamedTuple):
    """A number that a task is judged by.

    Attributes:
      name: as in the log.
      higher_is_better: whether it is.
    """

    name: str
    higher_is_better: bool


class Network(NamedTuple):
    """What the training of a network changes.

    Attributes:
      w: its weights.
      batch_stats: its running statistics.
      opt: state of its optimiser.
    """

    w: Any
    batch_stats: Any
    opt: Any


class Task(NamedTuple):
    """What is trained, as pure functions.

    A batch is a dictionary of the task's own fields, with "batch_stats", which is only
    read, and "at" beside them.

    Attributes:
      init: key -> (w, batch_stats) of the network.
      outputs: (w, mix, batch, train) -> (outputs, batch_stats). mix: cell type ->
        `Weights`.
      objective: (outputs, batch) -> scalar, what weights minimise; convex in outputs.
      criterion: (outputs, batch) -> scalar, what alpha minimises.
      scores: (outputs, batch) -> scalars by name, logged beside the objective.
      draw: (part, key, step, order) -> batch: in the order of epochs by the key `order`,
        or drawn afresh where that is None.
      measure: (w, batch_stats, mix, part) -> scalars by name, of a whole part.
      metrics: of these; the first one judges.
      pixels: (mean, std) by which images were normalised; None for other tasks.
    """

    init: Callable
    outputs: Callable
    objective: Callable
    criterion: Callable
    scores: Callable
    draw: Callable
    measure: Callable
    metrics: tuple[Metric, ...]
    pixels: tuple | None = None
