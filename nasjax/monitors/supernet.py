"""The supernet's loss and accuracy on alpha's half, and the cost of the search."""

from __future__ import annotations

from nasjax.monitors.base import Monitor
from nasjax.search import Search


def supernet(search: Search) -> Monitor:
    """The monitor of valid_loss and valid_accuracy.

    Batch norm uses running moments; the mixing weights are not discretised.
    """
    task = search.problem.task

    def measure(state, part):
        found = task.measure(state.w, state.batch_stats, search.mix(state), part)
        return {f"valid_{name}": value for name, value in found.items()}

    return Monitor("evaluate", program=measure)


def gradients(search: Search, spent: float) -> Monitor:
    """The monitor of gradient_evaluations: gradients of one batch since the run began.

    spent: gradient evaluations before this phase.
    """
    count = lambda seen: {"gradient_evaluations": spent + search.gradients(seen.step)}
    return Monitor("gradients", report=count)
