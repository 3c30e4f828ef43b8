"""Count parameters and multiply-adds of a genotype's network or a supernet."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from nasjax.commands.arguments import GENOTYPE, positive
from nasjax.core.errors import UserError, unregistered
from nasjax.core.files import read_json
from nasjax.engine.program import Parser
from nasjax.experiment import architecture
from nasjax.nets import count_genotype, count_supernet
from nasjax.spaces import IMAGENET_PIXELS, SPACES
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.load import load
from nasjax.spaces.published import PUBLISHED
from nasjax.tasks import classification

IMAGE, CLASSES = (32, 32, 3), 10  # of a network that is not a run's


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    a = _parser().parse_args(argv)
    if a.supernet is not None:
        counts = _supernet(a)
    else:
        if a.genotype in SPACES and not os.path.exists(a.genotype):
            raise UserError(
                f"{a.genotype!r} is a space, not a genotype; to count its supernet type "
                f"nasjax count --supernet {a.genotype}."
            )
        genotype = load(a.genotype)
        named = a.genotype.lower() in PUBLISHED
        if not named and os.path.isfile(os.path.join(a.genotype, "config.json")):
            counts = _of_run(genotype, Path(a.genotype), a)
        else:
            usual = (16, 15) if genotype.space == "nasbench201" else (36, 20)
            width, depth = a.channels or usual[0], a.cells or usual[1]
            size = (width, depth, *_images(a, CLASSES, IMAGE))
            counts = count_genotype(genotype, *size, a.auxiliary)
    print(json.dumps(counts))
    return 0


def _supernet(a: argparse.Namespace) -> dict[str, int]:
    if a.supernet not in SPACES:
        raise unregistered("space", a.supernet, SPACES)
    if a.auxiliary:
        raise UserError("A supernet has no auxiliary head; leave out --auxiliary.")
    size = (a.channels or 16, a.cells or 8, *_images(a, CLASSES, IMAGE))
    return count_supernet(SPACES[a.supernet], *size)


def _of_run(genotype: Genotype, run: Path, a: argparse.Namespace) -> dict[str, int]:
    """The counts of the network that a run retrains, with the sizes of the flags.

    Without flags they are in result.json, and the data are not read.
    """
    result = read_json(run / "result.json") or {}
    manifest = read_json(run / "manifest.json") or {}
    names = result.get("classes") or manifest.get("classes")
    params, macs = result.get("params"), result.get("macs")
    sizes = (a.channels, a.cells, a.classes, a.image_size, a.in_channels, a.stem)
    if not (params is None or macs is None or any(sizes) or a.auxiliary):
        own = (read_json(run / "config.json") or {}).get("retrain") or {}
        width, depth = (own.get(name, "?") for name in ("channels", "cells"))
        _say(run, width, depth, f"{len(names) if names else '?'} classes")
        return {"params": params, "macs": macs}
    config = architecture.of_run(run)
    if config.task != "images":
        raise UserError(
            f"{run} is a run of the task {config.task!r}; its counts are known only as "
            "its result.json has them, without flags, after it has finished."
        )
    classes, shape = len(names or ()), IMAGE
    if not (a.image_size and a.in_channels and (a.classes or classes)):
        try:
            data = classification.load(config)
        except UserError as error:
            raise UserError(
                f"The size of the run's images is unknown, because its data cannot be "
                f"read. {error} Or give --image-size, --in-channels and --classes."
            ) from None
        classes, shape = len(data.classes), data.image_shape
    own = config.retrain
    width, depth = a.channels or own.channels, a.cells or own.cells
    images = _images(a, classes, shape)
    counts = count_genotype(genotype, width, depth, *images, a.auxiliary)
    number, (height, side), colours, _ = images
    words = f"{number} classes, {height}x{side}x{colours} images"
    _say(run, width, depth, words)
    return counts


def _images(
    a: argparse.Namespace, classes: int, shape: tuple[int, int, int]
) -> tuple[int, tuple[int, int], int, str]:
    """Classes, (height, width), channels and stem: of the flags, else the usual ones."""
    size = (a.image_size, a.image_size) if a.image_size else shape[:2]
    stem = a.stem or ("imagenet" if min(size) >= IMAGENET_PIXELS else "cifar")
    return a.classes or classes, size, a.in_channels or shape[2], stem


def _say(run: Path, width: int, depth: int, images: str) -> None:
    """The size that is counted, on stderr: stdout is JSON."""
    print(f"{run}: C = {width}, {depth} cells, {images}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    about = "For the folder of a run all defaults are those of its retrained network."
    made = Parser(prog="nasjax count", description=__doc__, epilog=about)
    which = made.add_mutually_exclusive_group(required=True)
    which.add_argument("genotype", nargs="?", metavar="GENOTYPE", help=GENOTYPE)
    which.add_argument("--supernet", metavar="SPACE", help="count a supernet")
    for flag, about in (
        ("--channels", "width C (default: 36; supernet, NAS-Bench-201: 16)"),
        ("--cells", "number of cells (default: 20; supernet: 8; NAS-Bench-201: 15)"),
        ("--classes", f"number of classes (default: {CLASSES})"),
        ("--image-size", f"side of the image in pixels (default: {IMAGE[0]})"),
        ("--in-channels", f"channels of the image (default: {IMAGE[2]})"),
    ):
        made.add_argument(flag, type=positive, metavar="N", help=about)
    about = "the network's stem (default: imagenet from 128 pixels, else cifar)"
    made.add_argument("--stem", choices=("cifar", "imagenet"), help=about)
    about = "add the auxiliary head's parameters (it takes no part in evaluation)"
    made.add_argument("--auxiliary", action="store_true", help=about)
    return made
