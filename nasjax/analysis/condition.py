"""The condition number of the search's loss at alpha, after M inner steps (ZARTS, eq. 9).

Q = max_i |L(alpha + D_i) - L(alpha)| |alpha| / (|D_i| |L(alpha)|) over random
directions D_i, for first-order weights (M = 0), second-order weights (M = 1) and
weights that were trained for --steps. All start from the weights at the end of the run,
on the same batches.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import jax
import numpy as np

from nasjax.analysis import commands, runs
from nasjax.analysis.measures import condition_number
from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.engine.beside import leave
from nasjax.plots import studies


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    made = commands.parser("condition", __doc__ or "")
    for flag, kind, default, about in (
        ("--directions", commands.positive, 50, "K, number of random directions"),
        ("--norm", commands.above_zero, 0.01, "length of each, over all cells"),
    ):
        help = f"{about} (default: {default})"
        made.add_argument(flag, type=kind, default=default, metavar="N", help=help)
    commands.lookahead_arguments(made)
    return commands.execute(_study, made, "condition", argv)


def _study(arguments: argparse.Namespace) -> str:
    run = runs.load(arguments.run)
    key = derive(jax.random.key(arguments.seed), "condition")
    train, val = runs.batches(run, key, arguments.steps, arguments.images)
    objective = runs.objective(run, commands.inner_rate(run, arguments))
    found = {}
    for steps in sorted({0, 1, arguments.steps}):
        first = jax.tree.map(lambda leaf: leaf[:steps], train)
        try:
            with commands.working(f"M = {steps}: {arguments.directions} directions"):
                found[steps] = condition_number(
                    objective, run.state.arch, derive(key, "directions"), run.state.w,
                    first, val, directions=arguments.directions, norm=arguments.norm,
                    chunk=arguments.chunk,
                )  # fmt: skip
        except ValueError as error:  # a loss of exactly 0
            raise UserError(f"There is no condition number here: {error}") from None
        commands.finite(found[steps].ratios)
    report = {
        **commands.described(run, arguments),
        "norm": arguments.norm,
        "panels": [{"inner_steps": m, **own._asdict()} for m, own in found.items()],
    }
    commands.write(arguments.json, report)
    studies.condition(report, arguments.plot)
    rows = [[m, q.loss, q.number, np.median(q.ratios)] for m, q in found.items()]
    return "\n".join(
        [
            commands.table(["M", "loss", "Q", "median"], rows),
            f"written: {arguments.json}, {arguments.plot}",
        ]
    )


if __name__ == "__main__":
    leave(main)
