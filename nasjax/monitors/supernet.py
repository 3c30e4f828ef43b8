"""The supernet's loss and accuracy on alpha's half, and what the search has cost."""

from __future__ import annotations

from nasjax.monitors.base import Monitor
from nasjax.search import Search


def supernet(search: Search) -> Monitor:
    """valid_loss, valid_accuracy: by running moments, with mixing weights as they are."""
    task = search.problem.task

    def measure(state, part):
        found = task.measure(state.w, state.batch_stats, search.mix(state), part)
        return {f"valid_{name}": value for name, value in found.items()}

    return Monitor("evaluate", program=measure)


def gradients(search: Search, spent: float) -> Monitor:
    """gradient_evaluations: of one batch, since the first step of the run.

    spent: before this phase.
    """
    count = lambda seen: {"gradient_evaluations": spent + search.gradients(seen.step)}
    return Monitor("gradients", report=count)
