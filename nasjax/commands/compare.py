"""Compare the seeds of finished runs: means, paired tests, ranks, cost, collapse."""

from __future__ import annotations

from collections.abc import Sequence

from nasjax.analysis import compare_report
from nasjax.engine.program import Parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    made = Parser(prog="nasjax compare", description=__doc__)
    about = "folders of runs, or folders that contain runs, such as a sweep's"
    made.add_argument("runs", nargs="+", metavar="RUN", help=about)
    about = "set of runs to test the others against (default: the first run's set)"
    made.add_argument("--baseline", default="", metavar="NAME", help=about)
    about = "test the set ROW against the set BASE instead of the baseline; repeatable"
    made.add_argument(
        "--against", nargs=2, action="append", default=[], metavar=("ROW", "BASE"),
        help=about,
    )  # fmt: skip
    about = (
        "measures of result.json, such as test_accuracy, or an accuracy of the table, "
        "such as true_cifar10 or true_cifar10_without_none (default: the first of the "
        "test's, true_cifar10 and the supernet's that all runs have)"
    )
    made.add_argument(
        "--metric", nargs="+", action="extend", default=[], metavar="NAME", help=about
    )
    about = "folder to write compare.md, compare.json and compare.png into"
    made.add_argument("-o", "--output", metavar="FOLDER", help=about)
    a = made.parse_args(argv)
    against = dict(a.against)
    print(compare_report.study(a.runs, a.baseline, a.metric, a.output, against))
    return 0
