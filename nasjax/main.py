"""Flags and nothing else.

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

from absl import app, flags, logging
from ml_collections import config_flags

from nasjax.errors import UserError, unknown

FLAGS = flags.FLAGS
_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, with an optional :variant.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; runs/CONFIG-VARIANT-HASH by default."
)


def main() -> None:
    """The console entry; exit code 2 for anything a user can mend."""
    logging.set_verbosity(logging.ERROR)
    try:
        app.run(_run, flags_parser=_parse)
    except UserError as error:
        _stop(str(error), 2)


def _parse(argv: list[str]) -> list[str]:
    try:
        rest = FLAGS(argv)
        if _CONFIG.value is None:
            if FLAGS.find_module_defining_flag("help") and any(
                arg.lstrip("-").startswith("help") for arg in argv[1:]
            ):
                return rest
            raise UserError(
                "No config was given; type for example "
                "python -m nasjax.main --config=configs/zarts_mgs.py"
            )
    except flags.Error as error:
        raise _mended(str(error), argv) from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _mended(str(error).strip("'\""), argv) from None
    except (FileNotFoundError, ImportError, SyntaxError) as error:
        raise UserError(
            f"The config cannot be read: {error}; give a file such as "
            "configs/zarts_mgs.py with --config."
        ) from None
    if len(rest) > 1:
        raise UserError(
            f"Unexpected argument {rest[1]!r}; flags start with two dashes."
        )
    return rest


def _mended(message: str, argv: list[str]) -> UserError:
    """The sentence for a flag that absl or ml_collections refuses."""
    first = message.splitlines()[0] if message else "A flag is malformed."
    for arg in argv[1:]:
        name = arg.lstrip("-").split("=")[0]
        if name.startswith("config.") and _CONFIG.value is not None:
            fields = [f"config.{field}" for field in _fields(_CONFIG.value.to_dict())]
            if name not in fields:
                return unknown("config field", name, fields)
    return UserError(first)


def _fields(config: dict, prefix: str = "") -> list[str]:
    return [
        field
        for name, value in config.items()
        for field in (
            _fields(value, f"{prefix}{name}.")
            if isinstance(value, dict)
            else [prefix + name]
        )
    ]


def _run(argv: list[str]) -> None:
    del argv
    from nasjax.experiment import run
    from nasjax.loop import Interrupted
    from nasjax.progress import Progress

    config = _CONFIG.value
    workdir = Path(_WORKDIR.value or default_workdir(FLAGS["config"].config_filename))
    command = shlex.join(["python", "-m", "nasjax.main", *sys.argv[1:]])
    try:
        with Progress(tensorboard=workdir / "tensorboard") as progress:
            run(config, workdir, progress, command)
    except UserError as error:
        _stop(str(error), 2)
    except Interrupted as stop:
        _stop(f"{stop}\n  {command}", 128 + stop.signum)
    except KeyboardInterrupt:
        _stop(
            f"Stopped; the same command goes on from the last checkpoint:\n  {command}",
            130,
        )


def default_workdir(config_file: str) -> str:
    """runs/<config>-<variant>-<8 hex digits of the resolved config>."""
    name, _, variant = os.path.basename(config_file).partition(":")
    resolved = json.dumps(_CONFIG.value.to_dict(), sort_keys=True)
    digest = hashlib.sha256(resolved.encode()).hexdigest()[:8]
    return f"runs/{name.removesuffix('.py')}-{variant or 'default'}-{digest}"


def _stop(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
