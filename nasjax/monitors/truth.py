"""Accuracies that are known of an architecture. The search does not see them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nasjax.monitors.base import Monitor
from nasjax.spaces.genotype import Genotype


def truth(known: Callable[[Genotype], Mapping[str, float]]) -> Monitor:
    """true_NAME for every accuracy that `known` has of the genotype."""

    def report(seen):
        return {f"true_{name}": value for name, value in known(seen.genotype).items()}

    return Monitor("truth", report=report)
