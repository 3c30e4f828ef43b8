"""Show the state of a run: progress, result, cells."""

from __future__ import annotations

from collections.abc import Sequence

from nasjax.engine.program import Parser
from nasjax.experiment.show import show


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    made = Parser(prog="nasjax show", description=__doc__)
    made.add_argument("workdir", metavar="WORKDIR", help="the folder of a run")
    print(show(made.parse_args(argv).workdir))
    return 0
