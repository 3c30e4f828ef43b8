"""Write the report of a run: one HTML file with its pictures and numbers.

The file loads nothing else: it can be opened without a server or network, and sent.
A run writes its report at its end. This command also works on a run in progress and on
runs of older versions.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nasjax.analysis.commands import writable
from nasjax.engine.program import Parser
from nasjax.experiment import page, pictures, recorded


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    made = Parser(
        prog="nasjax report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("run", metavar="RUN", help="folder of a run")
    about = "HTML file to write (default: RUN/report.html)"
    made.add_argument("-o", "--output", metavar="FILE", type=Path, help=about)
    arguments = made.parse_args(argv)
    run = recorded.read(arguments.run)
    output = arguments.output or run.path / "report.html"
    writable(output, (".html", ".htm"), "-o")
    with tempfile.TemporaryDirectory() as scratch:
        page.write(run, output, pictures.draw(run, Path(scratch)))
    print(f"written: {output}")
    return 0
