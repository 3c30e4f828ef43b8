"""Known accuracies of an architecture. The search does not use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nasjax.monitors.base import Monitor
from nasjax.spaces.genotype import Genotype


def truth(known: Callable[[Genotype], Mapping[str, float]]) -> Monitor:
    """The monitor that reports true_NAME for every accuracy that `known` returns.

    It reports true_NAME_READING of every reading of the same mixing weights.

    known: genotype -> accuracies by name.
    """

    def report(seen):
        every = {"": seen.genotype}
        every |= {f"_{reading}": own for reading, own in seen.readings.items()}
        return {
            f"true_{name}{reading}": value
            for reading, genotype in every.items()
            for name, value in known(genotype).items()
        }

    return Monitor("truth", report=report)
