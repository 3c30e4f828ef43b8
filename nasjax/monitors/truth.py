"""Known accuracies of an architecture. The search does not use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nasjax.monitors.base import Monitor
from nasjax.spaces.genotype import Genotype


def truth(known: Callable[[Genotype], Mapping[str, float]]) -> Monitor:
    """The monitor that reports true_NAME for every accuracy that `known` returns.

    known: genotype -> accuracies by name.
    """

    def report(seen):
        return {f"true_{name}": value for name, value in known(seen.genotype).items()}

    return Monitor("truth", report=report)
