"""The command line of a run.

python -m nasjax.main --config=configs/zarts_mgs.py [--workdir=FOLDER]
    [--config.FIELD=VALUE ...]
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from nasjax.core.errors import UserError, unknown
from nasjax.engine.beside import leave
from nasjax.experiment.defaults import FREE_ON_RESUME, pruned
from nasjax.search.algorithms import PARTS, parse

FLAGS = flags.FLAGS
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, with an optional :variant.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; runs/CONFIG-VARIANT-HASH by default."
)

EXAMPLE = "--config=configs/zarts_mgs.py"


def main() -> None:
    """The console entry point; the exit code is 2 for errors a user can fix."""
    logging.set_verbosity(logging.ERROR)
    code = 0
    try:
        app.run(_run, flags_parser=_parse)
    except UserError as error:
        print(error, file=sys.stderr)
        code = 2
    except SystemExit as end:
        code = int(end.code or 0)
    leave(code)


def _parse(argv: list[str]) -> list[str]:
    asked = [arg.lstrip("-").partition("=")[0] for arg in argv[1:]]
    if "config" not in asked and not any(name.startswith("help") for name in asked):
        raise UserError(
            f"No config was given; type for example python -m nasjax.main {EXAMPLE}"
        )
    try:
        rest = FLAGS(argv)
    except UserError:
        raise
    except Exception as error:  # absl and ml_collections raise almost anything
        raise _mended(error, argv) from None
    if not isinstance(_CONFIG.value, ConfigDict):
        raise _mended(ValueError("it is not a ConfigDict"), argv)
    if len(rest) > 1:
        raise UserError(
            f"Unexpected argument {rest[1]!r}; flags start with two dashes."
        )
    _check_parts(argv)
    return rest


def _check_parts(argv: list[str]) -> None:
    """Refuses a setting of a part that the algorithm does not name."""
    from nasjax.experiment import validate

    validate.head(_CONFIG.value)
    algorithm = _CONFIG.value.algorithm
    names = parse(algorithm)
    for flag in (arg.lstrip("-").partition("=")[0] for arg in argv[1:]):
        part = (*flag.split("."), "", "")[2]
        if flag.startswith("config.arch.") and part in PARTS and part not in names:
            raise UserError(
                f"--{flag} was given, but {part} is no part of the algorithm "
                f"{algorithm!r}, which is {'+'.join(names)}; leave it out, or name "
                f"{part} in --config.algorithm."
            )


def _mended(error: Exception, argv: list[str]) -> UserError:
    """The message for a command line that absl or ml_collections refuse."""
    given = [arg.lstrip("-").partition("=")[::2] for arg in argv[1:]]
    file = dict(given)["config"]
    if not file:  # --config FILE
        after = [i + 1 for i, arg in enumerate(argv) if arg.lstrip("-") == "config"]
        file = "".join(argv[after[0] : after[0] + 1]) if after else ""
    if not file:
        return UserError(f"--config has no value; type for example {EXAMPLE}")
    try:
        fields = _fields(_read(file).to_dict())
    except UserError as reason:
        return reason
    except Exception as reason:  # the file is a program of the user
        return UserError(
            f"The config {file!r} cannot be read ({_first_line(reason)}); give a file "
            f"with a get_config function, such as {EXAMPLE}"
        )
    for name, value in given:
        if name.startswith("config."):
            if name not in fields:
                return unknown("config field", name, fields)
            if name in str(error):
                present = fields[name]
                quoted = f'"{present}"' if isinstance(present, tuple) else present
                return UserError(
                    f"--{name} was given {value!r}; expected a value like its present "
                    f"one, as in --{name}={quoted}"
                )
    return UserError(_first_line(error))


def _read(file: str) -> ConfigDict:
    """The config of `PATH:variant`, as ml_collections reads it; errors are raised."""
    path, _, variant = file.partition(":")
    if not os.path.isfile(path):
        raise UserError(
            f"The config file {path!r} does not exist; give one such as {EXAMPLE}"
        )
    space: dict[str, Any] = {"__name__": "config"}
    exec(compile(Path(path).read_text(), path, "exec"), space)
    return space["get_config"](*[variant] if variant else [])


def _first_line(error: Exception) -> str:
    return (str(error).strip("'\"").splitlines() or [type(error).__name__])[0]


def _fields(config: dict[str, Any], prefix: str = "config.") -> dict[str, Any]:
    """Dotted name -> value of every field."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        inner = isinstance(value, dict)
        flat |= _fields(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return flat


def _run(argv: list[str]) -> None:
    del argv
    from nasjax.engine.programs import code
    from nasjax.engine.progress import Progress
    from nasjax.engine.signals import Interrupted
    from nasjax.experiment.run import run

    config = _CONFIG.value
    file = config_flags.get_config_filename(FLAGS["config"])
    workdir = Path(_WORKDIR.value or default_workdir(file))
    command = shlex.join(["python", "-m", "nasjax.main", *sys.argv[1:]])
    try:
        with Progress(tensorboard=workdir / "tensorboard") as progress:
            run(config, workdir, progress, command, code(file.partition(":")[0]))
    except UserError as error:
        _stop(str(error), 2)
    except Interrupted as stop:
        _stop(f"{stop}\n  {command}", 128 + stop.signum)
    except KeyboardInterrupt:
        _stop(
            f"Stopped; the same command resumes from the last checkpoint:\n  {command}",
            130,
        )


def default_workdir(config_file: str) -> str:
    """runs/<config>-<variant>-<8 hex digits of a hash of the config>."""
    name, _, variant = os.path.basename(config_file).partition(":")
    fields = _fields(pruned(_CONFIG.value.to_dict()), "")
    identity = {
        name: value for name, value in fields.items() if name not in FREE_ON_RESUME
    }
    resolved = json.dumps(identity, sort_keys=True)
    digest = hashlib.sha256(resolved.encode()).hexdigest()[:8]
    return f"runs/{name.removesuffix('.py')}-{variant or 'default'}-{digest}"


def _stop(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
