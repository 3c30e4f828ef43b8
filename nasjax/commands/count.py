"""Count parameters and multiply-adds of a genotype's network or a supernet."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence

from nasjax.commands.arguments import GENOTYPE, positive
from nasjax.core.errors import UserError, unregistered
from nasjax.engine.program import Parser
from nasjax.nets import count_genotype, count_supernet
from nasjax.spaces import IMAGENET_PIXELS, SPACES
from nasjax.spaces.load import load


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    a = _parser().parse_args(argv)
    stem = a.stem or ("imagenet" if a.image_size >= IMAGENET_PIXELS else "cifar")
    rest = (a.classes, a.image_size, a.in_channels, stem)
    if a.supernet is None:
        if a.genotype in SPACES and not os.path.exists(a.genotype):
            raise UserError(
                f"{a.genotype!r} is a space, not a genotype; to count its supernet type "
                f"nasjax count --supernet {a.genotype}."
            )
        genotype = load(a.genotype)
        usual = (16, 15) if genotype.space == "nasbench201" else (36, 20)
        channels, cells = a.channels or usual[0], a.cells or usual[1]
        counts = count_genotype(genotype, channels, cells, *rest, a.auxiliary)
    elif a.supernet not in SPACES:
        raise unregistered("space", a.supernet, SPACES)
    elif a.auxiliary:
        raise UserError("A supernet has no auxiliary head; leave out --auxiliary.")
    else:
        channels, cells = a.channels or 16, a.cells or 8
        counts = count_supernet(SPACES[a.supernet], channels, cells, *rest)
    print(json.dumps(counts))
    return 0


def _parser() -> argparse.ArgumentParser:
    made = Parser(prog="nasjax count", description=__doc__)
    which = made.add_mutually_exclusive_group(required=True)
    which.add_argument("genotype", nargs="?", metavar="GENOTYPE", help=GENOTYPE)
    which.add_argument("--supernet", metavar="SPACE", help="count a supernet")
    for flag, about in (
        ("--channels", "width C (default: 36; supernet, NAS-Bench-201: 16)"),
        ("--cells", "number of cells (default: 20; supernet: 8; NAS-Bench-201: 15)"),
    ):
        made.add_argument(flag, type=positive, metavar="N", help=about)
    for flag, default, about in (
        ("--classes", 10, "number of classes"),
        ("--image-size", 32, "side of the image in pixels"),
        ("--in-channels", 3, "channels of the image"),
    ):
        about += f" (default: {default})"
        made.add_argument(flag, type=positive, default=default, metavar="N", help=about)
    about = "the network's stem (default: imagenet from 128 pixels, else cifar)"
    made.add_argument("--stem", choices=("cifar", "imagenet"), help=about)
    about = "add the auxiliary head's parameters (it takes no part in evaluation)"
    made.add_argument("--auxiliary", action="store_true", help=about)
    return made
