"""Compare search algorithms on a table of accuracies alone, over many seeds."""

from __future__ import annotations

from collections.abc import Sequence

from nasjax.analysis import testbed
from nasjax.analysis.commands import writable
from nasjax.commands.arguments import positive
from nasjax.core.files import named
from nasjax.engine.program import Parser
from nasjax.spaces.official import convert
from nasjax.spaces.table import DATASETS


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    made = Parser(prog="nasjax testbed", description=__doc__)
    about = (
        "CSV file of NAS-Bench-201's accuracies, see nasjax.spaces.table (default: the "
        "table that comes with nasjax)"
    )
    made.add_argument("table", metavar="TABLE", nargs="?", help=about)
    about = (
        "write the table -o TABLE.csv, or .csv.xz, from a file of NAS-Bench-201 (.pth), "
        "of NATS-Bench (.pickle.pbz2, or its -simple folder) or from a table instead"
    )
    made.add_argument("--convert", metavar="FILE", help=about)
    for flag, default, about in (
        ("--seeds", 100, "runs of each method"),
        ("--evaluations", 1000, "evaluations of each run"),
    ):
        about += f" (default: {default})"
        made.add_argument(flag, type=positive, default=default, metavar="N", help=about)
    about = (
        "column that the searches see (default: the first of "
        f"{', '.join(testbed.SIGNALS)} that the table has, or that of --report)"
    )
    made.add_argument("--signal", metavar="COLUMN", help=about)
    about = "column that they are compared by (default: %(default)s)"
    column = DATASETS["cifar10"]
    made.add_argument("--report", default=column, metavar="COLUMN", help=about)
    about = "folder to write testbed.md, testbed.json and testbed.png into"
    made.add_argument("-o", "--output", metavar="FOLDER", help=about)
    a = made.parse_args(argv)
    if a.convert is not None:
        if a.table or not a.output:
            made.error("--convert takes no TABLE, and needs -o TABLE.csv")
        writable(named(a.output), flag="-o")  # reading the file takes minutes
        print(convert(a.convert, a.output))
        return 0
    print(testbed.study(a.table, a.seeds, a.evaluations, a.signal, a.report, a.output))
    return 0
