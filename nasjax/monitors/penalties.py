"""The reports of penalties on alpha, such as the price of its architecture."""

from __future__ import annotations

from typing import Any

import jax

from nasjax.monitors.base import Monitor
from nasjax.search import Search


def penalties(search: Search) -> Monitor:
    """The monitor with the reports of all penalties of a search."""
    reports = [own.report for own in search.problem.penalties if own.report]

    def report(seen):
        found: dict[str, Any] = {}
        for own in reports:
            found |= jax.device_get(own(seen.state.arch))
        return {name: float(value) for name, value in found.items()}

    return Monitor("penalties", report=report)
