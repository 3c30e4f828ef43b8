"""Monitors: what is measured while a search runs. None changes its state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nasjax.search import SearchState
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.mix import Mix


class Seen(NamedTuple):
    """A search at the end of an epoch, on the host.

    Attributes:
      state: with its arrays on the devices.
      step: weight steps so far.
      mix: mixing weights, as arrays of numpy.
      genotype: the architecture that is read off them.
    """

    state: SearchState
    step: int
    mix: Mix
    genotype: Genotype


class Monitor(NamedTuple):
    """A measurement at the end of epochs.

    Attributes:
      name: of its program.
      every: epochs between two measurements. The last epoch is always measured.
      program: (state, part of alpha's data) -> scalars by name, compiled ahead of time.
      report: `Seen` -> numbers by name, on the host.
    """

    name: str
    every: int = 1
    program: Callable[[SearchState, Any], Mapping[str, Any]] | None = None
    report: Callable[[Seen], Mapping[str, float]] | None = None

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether it is at the end of an epoch, counted from 0."""
        return epoch % self.every == 0 or epoch == epochs - 1
