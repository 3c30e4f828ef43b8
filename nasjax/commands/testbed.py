"""Compare search algorithms on a table of accuracies alone, over many seeds."""

from __future__ import annotations

from collections.abc import Sequence

from nasjax.analysis import testbed
from nasjax.commands.arguments import positive
from nasjax.engine.program import Parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    made = Parser(prog="nasjax testbed", description=__doc__)
    about = "CSV file of NAS-Bench-201's accuracies, see nasjax.spaces.table"
    made.add_argument("table", metavar="TABLE", help=about)
    for flag, default, about in (
        ("--seeds", 100, "runs of each method"),
        ("--evaluations", 1000, "evaluations of each run"),
    ):
        about += f" (default: {default})"
        made.add_argument(flag, type=positive, default=default, metavar="N", help=about)
    for flag, column, about in (
        ("--signal", "cifar10_valid_12ep", "column that the searches see"),
        ("--report", "cifar10_test_200ep", "column that they are compared by"),
    ):
        about += f" (default: {column})"
        made.add_argument(flag, default=column, metavar="COLUMN", help=about)
    about = "folder to write testbed.md, testbed.json and testbed.png into"
    made.add_argument("-o", "--output", metavar="FOLDER", help=about)
    a = made.parse_args(argv)
    print(testbed.study(a.table, a.seeds, a.evaluations, a.signal, a.report, a.output))
    return 0
