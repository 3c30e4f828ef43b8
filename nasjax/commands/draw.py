"""Draw the cells of a genotype to a PNG, SVG or PDF file."""

from __future__ import annotations

from collections.abc import Sequence

from nasjax.commands.arguments import GENOTYPE
from nasjax.engine.program import Parser
from nasjax.plots import genotypes
from nasjax.spaces.load import load


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    made = Parser(prog="nasjax draw", description=__doc__)
    made.add_argument("genotype", metavar="GENOTYPE", help=GENOTYPE)
    about = "the picture; its ending sets the format: .png, .svg or .pdf"
    made.add_argument("-o", "--output", required=True, metavar="FILE", help=about)
    arguments = made.parse_args(argv)
    genotypes.draw(load(arguments.genotype), arguments.output)
    print(f"Wrote {arguments.output}")
    return 0
