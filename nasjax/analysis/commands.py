"""Shared parts of the command lines of studies: arguments, errors, files."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optax

from nasjax.analysis import runs
from nasjax.core.errors import UserError
from nasjax.core.files import named, read_json, write_text
from nasjax.core.imports import GIVEN
from nasjax.engine import program
from nasjax.engine.compiling import compiled_programs
from nasjax.engine.platforms import devices
from nasjax.engine.progress import Progress
from nasjax.engine.workdir import RunFolder

PICTURES = (".png", ".svg", ".pdf")


def parser(name: str, about: str) -> argparse.ArgumentParser:
    """A parser with RUN, --json and --plot; the files are RUN/`name`.* by default.

    Args:
      name: name of the module.
      about: docstring of the module.
    """
    made = program.Parser(
        prog=f"nasjax {name}",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("run", metavar="RUN", help="folder of a run")
    for flag, ending in (("--json", ".json"), ("--plot", ".png")):
        help = f"file to write (default: RUN/{name}{ending})"
        made.add_argument(flag, metavar="FILE", type=Path, help=help)
    return made


def lookahead_arguments(made: argparse.ArgumentParser) -> None:
    """Adds --steps, --rate, --images, --seed and --chunk: options of the objective."""
    help = "learning rate of the inner steps (default: the run's last rate of w)"
    made.add_argument("--rate", type=above_zero, metavar="X", help=help)
    for flag, kind, default, about in (
        ("--steps", positive, 10, "M, inner steps of the longest look-ahead"),
        ("--images", positive, 1024, "validation images, at most all"),
        ("--seed", natural, 0, "seed of directions, batches and draws"),
        ("--chunk", positive, 1, "points evaluated at once; more are faster on a GPU"),
    ):
        help = f"{about} (default: {default})"
        made.add_argument(flag, type=kind, default=default, metavar="N", help=help)


def inner_rate(run: runs.Run, arguments: argparse.Namespace) -> float:
    """--rate, or the last learning rate of the run's schedule.

    In the papers' setting the last rate is 0.001, as in ZARTS' released landscapes.

    Raises:
      UserError: the schedule ends at 0.
    """
    rate = arguments.rate or run.experiment.config.search.rate_min
    if not rate:
        raise UserError(
            "The learning rate of this run ends at 0, so no inner step would move; "
            "give a positive one, as in --rate=0.001."
        )
    return rate


def described(run: runs.Run, arguments: argparse.Namespace) -> dict[str, Any]:
    """The entries of a JSON file on the run and the look-ahead."""
    config, manifest = run.experiment.config, run.folder.manifest
    norms = {kind: float(optax.tree.norm(own)) for kind, own in run.state.arch.items()}
    return {
        "run": {
            "command": manifest.get("command"),
            "algorithm": config.algorithm,
            "dataset": run.experiment.domain.name,
            "alpha_norm": norms,
        },
        "look_ahead": {
            "rate": inner_rate(run, arguments),
            "images": min(arguments.images, runs.examples(run)),
            "seed": arguments.seed,
        },
    }


def execute(
    study: Callable[[argparse.Namespace], str],
    made: argparse.ArgumentParser,
    name: str,
    argv: Sequence[str] | None,
) -> int:
    """Runs a study; returns the exit code, see `nasjax.engine.program`."""

    def run(argv: Sequence[str]) -> int:
        arguments = made.parse_args(argv)
        modules = [f"--import={module}" for module in GIVEN]
        arguments.command = shlex.join(["nasjax", name, *modules, *argv])
        for field, ending in (("json", ".json"), ("plot", ".png")):
            default = Path(arguments.run) / f"{name}{ending}"
            path = getattr(arguments, field) or default
            setattr(arguments, field, path)
        devices()
        # Refused now, not after minutes of work.
        folder = RunFolder.read(arguments.run)
        writable(arguments.json, (".json",))
        writable(arguments.plot, PICTURES)
        config = read_json(folder.path / "config.json") or {}
        with compiled_programs(config.get("compile_cache", "auto")):
            text = study(arguments)
        print(text)
        return 0

    return program.execute(made.prog, run, argv)


def finite(losses: np.ndarray) -> np.ndarray:
    """The losses, or values computed from them, after a check.

    Raises:
      UserError: a value is not finite.
    """
    if not np.isfinite(losses).all():
        raise UserError(
            "A loss is not finite after the inner steps; try a lower --rate, or a "
            "smaller --extent, --norm or --spread."
        )
    return losses


def writable(path: Path, endings: Sequence[str] = (), flag: str = "") -> None:
    """Refuses a file with another ending, or in a folder that does not exist.

    endings: allowed ones; none: all. flag: the option that names the file.

    Raises:
      UserError: it cannot be written.
    """
    if endings and path.suffix.lower() not in endings:
        raise UserError(
            f"Cannot write {path}: the name must end in {' or '.join(endings)}."
        )
    if not os.path.isdir(path.absolute().parent):
        raise UserError(
            f"Cannot write {path}: there is no folder {path.absolute().parent}; make "
            f"it, or give another file{flag and f' with {flag}'}."
        )


def folder(given: str | os.PathLike[str]) -> Path:
    """The folder that -o names; it is created if it does not exist.

    Raises:
      UserError: it cannot be made.
    """
    path = named(given).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"Cannot make the folder {path}: {error.strerror}; give another one with -o."
        ) from None
    return path


def write(path: Path, value: Mapping[str, Any]) -> None:
    """Writes JSON with one line for each list of numbers; numbers have 6 digits."""
    text = json.dumps(_plain(value), indent=1, allow_nan=False)
    inner = re.compile(r"\[[^\[\]{}]*\]")
    write_text(path, inner.sub(lambda m: " ".join(m[0].split()), text) + "\n")


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns of text, aligned to the right; floats have 4 digits.

    >>> print(table(["M", "Q"], [[0, 0.5], [10, 0.123456]]))
     M       Q
     0     0.5
    10  0.1235
    """
    text = [[_cell(value) for value in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in text
    ]
    return "\n".join(line.rstrip() for line in lines)


@contextlib.contextmanager
def working(text: str) -> Iterator[None]:
    """Shows on stderr what takes long within the context, and for how long already."""
    with Progress(sys.stderr) as progress, progress.waiting(text, announced=False):
        yield


def say(text: str) -> None:
    """Prints a line on the progress to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> Any:
    """Arrays and tuples as lists, floats with 6 digits."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def positive(text: str) -> int:
    """A positive integer."""
    return _number(text, int, 1, "a positive integer")


def natural(text: str) -> int:
    """An integer of at least 0."""
    return _number(text, int, 0, "an integer of at least 0")


def above_zero(text: str) -> float:
    """A finite number above 0."""
    return _number(text, float, math.ulp(0.0), "a number above 0")


def _number(text: str, kind: type, least: float, expected: str) -> Any:
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not least <= value < math.inf:
        raise argparse.ArgumentTypeError(f"give {expected}, not {text!r}")
    return value
