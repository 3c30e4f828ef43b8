"""Compare the seeds of finished runs: means, t-tests, ranks, cost, collapse."""

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
    print(compare_report.study(a.runs, a.baseline, a.metric, a.output))
    return 0
