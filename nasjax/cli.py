"""The console script `nasjax`: lists, counts, drawings, and the state of runs.

Searches are started with `python -m nasjax.main`. Each command imports the heavy
modules that it needs, to keep `nasjax --help` fast.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from nasjax.core.errors import UserError, unknown

_ABOUT = "Lists, counts, drawings, the state of runs, and comparisons."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code.

    Args:
      argv: arguments after the program's name; None for `sys.argv[1:]`.

    Returns:
      0; or 2 after printing the message of a `UserError` to stderr.

    Raises:
      SystemExit: 2 for arguments that do not parse, 0 for --help.
    """
    arguments = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], str] = arguments.command
    try:
        text = command(arguments)
    except UserError as error:
        sys.stderr.write(f"nasjax: {error}\n")
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):  # it may lack line drawing
        sys.stdout.reconfigure(errors="replace")
    sys.stdout.write(text + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nasjax", description=_ABOUT)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    genotype = (
        "a published name (see `nasjax list`), a JSON file, a run folder, or a string of "
        "NAS-Bench-201"
    )

    def add(name: str, run: Callable[[argparse.Namespace], str]) -> Any:
        about = (run.__doc__ or "").split("\n")[0]
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(command=run)
        return command

    add("list", _list)

    count = add("count", _count)
    which = count.add_mutually_exclusive_group(required=True)
    which.add_argument("genotype", nargs="?", metavar="GENOTYPE", help=genotype)
    which.add_argument("--supernet", metavar="SPACE", help="count a supernet")
    for flag, about in (
        ("--channels", "width C (default: 36; supernet, NAS-Bench-201: 16)"),
        ("--cells", "number of cells (default: 20; supernet: 8; NAS-Bench-201: 15)"),
    ):
        count.add_argument(flag, type=_positive, metavar="N", help=about)
    for flag, default, about in (
        ("--classes", 10, "number of classes"),
        ("--image-size", 32, "side of the image in pixels"),
        ("--in-channels", 3, "channels of the image"),
    ):
        about += f" (default: {default})"
        kind = {"type": _positive, "default": default, "metavar": "N"}
        count.add_argument(flag, help=about, **kind)
    about = "the network's stem (default: imagenet from 128 pixels, else cifar)"
    count.add_argument("--stem", choices=("cifar", "imagenet"), help=about)
    about = "add the auxiliary head's parameters (it takes no part in evaluation)"
    count.add_argument("--auxiliary", action="store_true", help=about)

    draw = add("draw", _draw)
    draw.add_argument("genotype", metavar="GENOTYPE", help=genotype)
    about = "the picture; its ending sets the format: .png, .svg or .pdf"
    draw.add_argument("-o", "--output", required=True, metavar="FILE", help=about)

    show = add("show", _show)
    show.add_argument("workdir", metavar="WORKDIR", help="the folder of a run")

    maps = add("saliency", _saliency)
    maps.add_argument("run", metavar="RUN", help="the folder of a run")
    about = "another run on the same data, to show next to RUN"
    maps.add_argument("--beside", metavar="RUN", help=about)
    about = "indices of the test images to show (default: one of every class)"
    maps.add_argument("--images", nargs="+", type=_natural, metavar="N", help=about)
    about = "number of test images to measure (default: 512, at most all)"
    maps.add_argument("--count", type=_positive, default=512, metavar="N", help=about)
    about = "folder to write into (default: RUN)"
    maps.add_argument("-o", "--output", metavar="FOLDER", help=about)

    compare = add("compare", _compare)
    about = "folders of runs, or folders that contain runs, such as a sweep's"
    compare.add_argument("runs", nargs="+", metavar="RUN", help=about)
    about = "set of runs to test the others against (default: the first run's set)"
    compare.add_argument("--baseline", default="", metavar="NAME", help=about)
    about = (
        "measures of result.json, such as test_accuracy, or true_NAME, an accuracy of "
        "the table (default: the first of the test's, true_cifar10 and the supernet's "
        "that all runs have)"
    )
    compare.add_argument(
        "--metric", nargs="+", action="extend", default=[], metavar="NAME", help=about
    )
    about = "folder to write compare.md, compare.json and compare.png into"
    compare.add_argument("-o", "--output", metavar="FOLDER", help=about)

    testbed = add("testbed", _testbed)
    about = "CSV file of NAS-Bench-201's accuracies, see nasjax.spaces.table"
    testbed.add_argument("table", metavar="TABLE", help=about)
    for flag, default, about in (
        ("--seeds", 100, "runs of each method"),
        ("--evaluations", 1000, "evaluations of each run"),
    ):
        about += f" (default: {default})"
        testbed.add_argument(
            flag, type=_positive, default=default, metavar="N", help=about
        )
    for flag, column, about in (
        ("--signal", "cifar10_valid_12ep", "column that the searches see"),
        ("--report", "cifar10_test_200ep", "column that they are compared by"),
    ):
        about += f" (default: {column})"
        testbed.add_argument(flag, default=column, metavar="COLUMN", help=about)
    about = "folder to write testbed.md, testbed.json and testbed.png into"
    testbed.add_argument("-o", "--output", metavar="FOLDER", help=about)
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a positive integer, not {text!r}")
    return int(text)


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"give an integer of at least 0, not {text!r}")
    return int(text)


def _list(_: argparse.Namespace) -> str:
    """List the algorithms, spaces, published cells and data sets."""
    from nasjax.data.sources import EXTERNAL, SOURCES
    from nasjax.experiment.show import table, wrap
    from nasjax.search.algorithms import PARTS, partners
    from nasjax.spaces import SPACES
    from nasjax.spaces.published import PUBLISHED

    moves = {name: part.about for name, part in PARTS.items() if part.moves}
    changes = {
        name: f"{part.about} With: {', '.join(partners(name))}."
        for name, part in PARTS.items()
        if not part.moves
    }
    spaces = {}
    for name, space in SPACES.items():
        own = f"{space.alpha_shape(space.types[0])[1]} of " if space.lists else ""
        each = ", fixed for each edge" if space.lists else ""
        names = ", ".join(space.primitives)
        spaces[name] = f"{own}{len(space.primitives)} operations{each}: {names}"
    data = {name: load.__doc__ for name, load in SOURCES.items()}
    data |= dict.fromkeys(EXTERNAL, "Bring the file: --config.data.path=FILE.npz")
    cells = ", ".join(PUBLISHED)
    return "\n\n".join(
        (
            table("Algorithms: how alpha moves (name one)", moves),
            table("Changes of the search, joined to an algorithm by +", changes),
            table("Spaces", spaces),
            "Published cells (usable as GENOTYPE)\n" + wrap(cells, "  "),
            table("Data sets", data),
        )
    )


def _count(arguments: argparse.Namespace) -> str:
    """Count parameters and multiply-adds of a genotype's network or a supernet."""
    from nasjax.nets import count_genotype, count_supernet
    from nasjax.spaces import IMAGENET_PIXELS, SPACES
    from nasjax.spaces.load import load

    a = arguments
    stem = a.stem or ("imagenet" if a.image_size >= IMAGENET_PIXELS else "cifar")
    rest = (a.classes, a.image_size, a.in_channels, stem)
    if a.supernet is None:
        genotype = load(a.genotype)
        usual = (16, 15) if genotype.space == "nasbench201" else (36, 20)
        channels, cells = a.channels or usual[0], a.cells or usual[1]
        counts = count_genotype(genotype, channels, cells, *rest, a.auxiliary)
    elif a.supernet not in SPACES:
        raise unknown("space", a.supernet, SPACES)
    elif a.auxiliary:
        raise UserError("A supernet has no auxiliary head; leave out --auxiliary.")
    else:
        channels, cells = a.channels or 16, a.cells or 8
        counts = count_supernet(SPACES[a.supernet], channels, cells, *rest)
    return json.dumps(counts)


def _draw(arguments: argparse.Namespace) -> str:
    """Draw the cells of a genotype to a PNG, SVG or PDF file."""
    from nasjax.plots import genotypes
    from nasjax.spaces.load import load

    genotypes.draw(load(arguments.genotype), arguments.output)
    return f"Wrote {arguments.output}"


def _show(arguments: argparse.Namespace) -> str:
    """Show the state of a run: progress, result, cells."""
    from nasjax.experiment.show import show

    return show(arguments.workdir)


def _saliency(arguments: argparse.Namespace) -> str:
    """Draw saliency maps of a run's networks, or of two runs', and measure them."""
    from nasjax.analysis import saliency

    a = arguments
    return saliency.study(a.run, a.beside, a.images, a.count, a.output)


def _compare(arguments: argparse.Namespace) -> str:
    """Compare the seeds of finished runs: means, t-tests, ranks, cost, collapse."""
    from nasjax.analysis import compare_report

    a = arguments
    return compare_report.study(a.runs, a.baseline, a.metric, a.output)


def _testbed(arguments: argparse.Namespace) -> str:
    """Compare search algorithms on a table of accuracies alone, over many seeds."""
    from nasjax.analysis import testbed

    a = arguments
    return testbed.study(a.table, a.seeds, a.evaluations, a.signal, a.report, a.output)


if __name__ == "__main__":
    sys.exit(main())
