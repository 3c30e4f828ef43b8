"""Monitors: measurements during a search. A monitor never changes the search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nasjax.search import SearchState
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.mix import Mix


class Seen(NamedTuple):
    """A search at the end of an epoch, on the host.

    Attributes:
      state: state of the search, with its arrays on the devices.
      step: number of weight steps taken.
      mix: mixing weights, as numpy arrays.
      genotype: the architecture derived from the mixing weights.
      readings: architectures derived with and without `none`, see `Search.readings`.
    """

    state: SearchState
    step: int
    mix: Mix
    genotype: Genotype
    readings: Mapping[str, Genotype]


class Monitor(NamedTuple):
    """A measurement at the end of epochs.

    Attributes:
      name: name of the monitor and of its program.
      every: epochs between two measurements. The last epoch is always measured.
      program: (state, part of alpha's data) -> scalars by name, compiled ahead of time.
      report: `Seen` -> numbers by name, on the host.
    """

    name: str
    every: int = 1
    program: Callable[[SearchState, Any], Mapping[str, Any]] | None = None
    report: Callable[[Seen], Mapping[str, float]] | None = None

    def due(self, epoch: int, epochs: int) -> bool:
        """True if the monitor measures at the end of `epoch`, counted from 0."""
        return epoch % self.every == 0 or epoch == epochs - 1
