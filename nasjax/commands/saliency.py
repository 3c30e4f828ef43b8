"""Draw saliency maps of a run's networks, or of two runs', and measure them."""

from __future__ import annotations

from collections.abc import Sequence

from nasjax.analysis import saliency
from nasjax.analysis.commands import working
from nasjax.commands.arguments import natural, positive
from nasjax.engine.platforms import devices
from nasjax.engine.program import Parser


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    made = Parser(prog="nasjax saliency", description=__doc__)
    made.add_argument("run", metavar="RUN", help="the folder of a run")
    about = "another run on the same data, to show next to RUN"
    made.add_argument("--beside", metavar="RUN", help=about)
    about = "indices of the test images to show (default: one of every class)"
    made.add_argument("--images", nargs="+", type=natural, metavar="N", help=about)
    about = "number of test images to measure (default: 512, at most all)"
    made.add_argument("--count", type=positive, default=512, metavar="N", help=about)
    about = "folder to write into (default: RUN)"
    made.add_argument("-o", "--output", metavar="FOLDER", help=about)
    a = made.parse_args(argv)
    devices()
    with working("computing saliency maps"):
        text = saliency.study(a.run, a.beside, a.images, a.count, a.output)
    print(text)
    return 0
