"""`nasjax retrain`: training of a given architecture, without a search.

The architecture of a finished run is trained on the data and with the settings of the
run. With the same seed and settings it ends with the same accuracy as in the run.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from nasjax.core.errors import UserError, unknown
from nasjax.engine.program import Parser
from nasjax.engine.workdir import flat
from nasjax.experiment import architecture, validate
from nasjax.experiment.build import build
from nasjax.experiment.defaults import VARIANTS, free_on_resume

FLAGS = {  # of the command: field of the config
    "seed": "seed",
    "seeds": "retrain.seeds",
    "epochs": "retrain.epochs",
    "channels": "retrain.channels",
    "cells": "retrain.cells",
    "batch": "retrain.batch",
    "random": "retrain.random",
}


def main(argv: Sequence[str]) -> int:
    """Trains and tests an architecture; the same command resumes. Returns 0, or 128 +
    the number of a signal.

    Raises:
      UserError: an argument, the architecture or the data cannot be used.
      SystemExit: 2 for arguments that do not parse, 0 for --help.
    """
    from nasjax.engine.programs import code
    from nasjax.engine.progress import Progress
    from nasjax.engine.signals import Interrupted
    from nasjax.experiment.run import run

    arguments, fields = _parser().parse_known_args(argv)
    config = settings(arguments, fields)
    workdir = Path(arguments.workdir or _folder(arguments.genotype, config))
    command = shlex.join(["nasjax", "retrain", *argv])
    try:
        with Progress(tensorboard=workdir / "tensorboard") as progress:
            run(config, workdir, progress, command, code(__file__))
    except (Interrupted, KeyboardInterrupt) as stop:
        text = (
            str(stop) or "Stopped; the same command resumes from the last checkpoint:"
        )
        sys.stderr.write(f"{text}\n  {command}\n")
        return 128 + stop.signum if isinstance(stop, Interrupted) else 130
    return 0


def settings(arguments: argparse.Namespace, fields: Sequence[str]) -> ConfigDict:
    """The config of a command.

    Args:
      arguments: the parsed arguments.
      fields: the others, "--config.FIELD=VALUE"; the last of a field counts.

    Raises:
      UserError: a field is unknown, its value is of another kind, or there are two
        architectures.
    """
    given = {f"--{name}": getattr(arguments, name) for name in FLAGS}
    values: dict[str, Any] = {
        FLAGS[name.removeprefix("--")]: str(value)
        for name, value in given.items()
        if value is not None
    }
    for word in fields:
        found = re.fullmatch(r"--config\.([\w.]+)=(.*)", word, re.DOTALL)
        if not found:
            known = (
                *map("--{}".format, (*FLAGS, "workdir", "recipe")),
                "--config.FIELD",
            )
            raise unknown("argument", word, known)
        if found[1] == "genotype":
            raise UserError(
                f"{word} was given beside the architecture {arguments.genotype!r}; give "
                "one of them."
            )
        values[found[1]] = found[2]
    if not arguments.genotype:
        raise UserError(
            "No genotype was given; expected a published name such as darts_v2, a file, "
            "the folder of a run, or the text of a genotype."
        )
    if os.path.isdir(arguments.genotype) and not arguments.recipe:
        config = architecture.of_run(Path(arguments.genotype))
        config.retrain.random = 0  # the run has trained its own
    else:
        config = architecture.settings(arguments.recipe)
        config.genotype = arguments.genotype
        architecture.inherit(config, values)
    config.genotype = arguments.genotype
    present = flat(config.to_dict())
    for name, text in values.items():
        if name not in present:
            raise validate.unknown_field(
                f"config.{name}", [*map("config.{}".format, present)]
            )
        config.update_from_flattened_dict({name: _value(name, text, present[name])})
    return config


def _value(name: str, text: str, present: Any) -> Any:
    """The value of a field, written as Python writes it."""
    if isinstance(present, str):
        return text
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        value = text
    validate.of_kind(value, present, f"config.{name}")
    return tuple(value) if isinstance(value, list) else value


def _folder(genotype: str, config: ConfigDict) -> str:
    """RUN-retrain-HASH beside a run; else runs/retrain-NAME-HASH.

    The hash is of the config, so that other settings have another folder.
    """
    fields = flat(build(config).config.to_dict())
    free = free_on_resume()
    same = {name: value for name, value in fields.items() if name not in free}
    text = json.dumps(same, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    if os.path.isdir(genotype):
        return f"{genotype.rstrip(os.sep)}-retrain-{digest}"
    name = Path(genotype).stem if os.path.exists(genotype) else genotype
    name = name if re.fullmatch(r"[\w.-]{1,40}", name) else "genotype"
    return f"runs/retrain-{name}-{digest}"


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nasjax retrain",
        allow_abbrev=False,
        description="Train and test a given architecture, without a search. The "
        "architecture of a run is trained on the data and with the settings of the run.",
        epilog="Any field of the config can be given: --config.retrain.rate=0.1, "
        "--config.data.path=FILE.",
    )
    about = (
        "the folder of a run, a published name (see `nasjax list`), a file, or a text "
        'such as "Genotype(normal=[...], ...)" or a string of NAS-Bench-201'
    )
    parser.add_argument("genotype", metavar="GENOTYPE", help=about)
    for name, about in (
        ("seed", "seed of initial weights, order and augmentation"),
        ("seeds", "number of trainings, for a mean and a deviation"),
        ("epochs", "number of epochs"),
        ("channels", "width C of the first cell"),
        ("cells", "number of cells"),
        ("batch", "number of examples in a batch"),
        ("random", "number of random architectures trained beside it"),
    ):
        parser.add_argument(f"--{name}", type=int, metavar="N", help=about)
    about = "settings other than the run's: cifar10, imagenet, nasbench201, ..."
    parser.add_argument("--recipe", choices=VARIANTS, metavar="VARIANT", help=about)
    parser.add_argument("--workdir", metavar="FOLDER", help="folder of this training")
    return parser
