"""The command line of a run: `nasjax run`, or `python -m nasjax.main`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags, logging
from ml_collections import ConfigDict, config_flags

from nasjax.core.errors import UserError
from nasjax.core.files import read_json
from nasjax.core.imports import GIVEN, load_recorded
from nasjax.engine.beside import leave
from nasjax.engine.program import execute
from nasjax.experiment import architecture, configs, defaults
from nasjax.search import algorithms
from nasjax.search.algorithms import PARTS, parse

EXAMPLE = "--config=zarts_mgs"
HELP = """usage: nasjax run --config=CONFIG[:VARIANT] [--workdir=FOLDER]
           [--config.FIELD=VALUE ...]

Searches an architecture, retrains it and tests it. The same command resumes a run that
was stopped.

  --config=CONFIG[:VARIANT]
      a Python file with a function get_config(variant), which returns the settings; or
      the name of a config that ships with nasjax, see the end. Their variants:
      none: 1,797 handwritten digits, minutes on two cores;
      :cifar10, :cifar100, :svhn, :imagenet: the setting of the papers;
      :cifar10-s1 ... :svhn-s4: the same in the spaces S1 to S4;
      :nasbench201, :nasbench201-small: the setting of NAS-Bench-201.
  --import=MODULE_OR_FILE
      a Python file or module that registers your own operations, spaces, algorithms or
      kinds of data; may be repeated. The run records it.
  --workdir=FOLDER
      the folder of the run; default: runs/CONFIG-VARIANT-HASH.
  --config.FIELD=VALUE
      any field of the config. A tuple is quoted. Of a field that is given twice the last
      value counts. For example
      --config.search.epochs=4 --config.seed=1
      --config.seeds=8   (eight runs, WORKDIR/seed_0 to seed_7, and a comparison)
      --config.data.path=FILE.npz
      --config.algorithm=pc_darts+zarts_mgs --config.arch.zarts_mgs.samples=2
      --config.space.primitives="('skip_connect', 'sep_conv_3x3')"

The file {defaults}
explains each field; the files in {algorithms}
explain the fields of config.arch. `nasjax list` lists the algorithms, spaces and data
sets.

configs:
{configs}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, see `nasjax.engine.program`.

    Args:
      argv: arguments after the program's name; None for `sys.argv[1:]`.
    """
    return execute("nasjax run", _main, argv)


def _main(argv: Sequence[str]) -> int:
    logging.set_verbosity(logging.ERROR)
    if any(arg in ("-h", "--help", "--helpfull", "--helpshort") for arg in argv):
        print(
            HELP.format(
                configs="\n".join(configs.table()),
                defaults=defaults.__file__,
                algorithms=algorithms.__path__[0],
            )
        )
        return 0
    return _run(*parse_flags(argv), argv)


class Flags(NamedTuple):
    """The values of the flags.

    Attributes:
      config: the settings.
      file: file of the config, with its :variant.
      workdir: folder of the run.
    """

    config: ConfigDict
    file: str
    workdir: Path


def parse_flags(argv: Sequence[str]) -> Flags:
    """The values of the flags.

    Raises:
      UserError: a flag or its value is refused.
    """
    given = canonical(argv)
    if "config" not in names(given):
        raise UserError(f"No config was given; type for example nasjax run {EXAMPLE}")
    config_file = given[0].partition("=")[2]
    if not config_file:
        raise UserError(f"--config has no value; type for example {EXAMPLE}")
    given[0] = f"--config={configs.find(config_file)}"
    for flag in given:  # a run that is resumed, or whose architecture is trained
        name, _, value = flag.partition("=")
        folder = Path(value).expanduser()
        if name in ("--workdir", "--config.genotype") and os.path.isdir(folder):
            load_recorded(read_json(folder / "manifest.json") or {}, folder)
    arguments = ["nasjax", *given]
    values = flags.FlagValues()
    config = config_flags.DEFINE_config_file(
        "config", flag_values=values, sys_argv=arguments
    )
    workdir = flags.DEFINE_string("workdir", None, "", flag_values=values)
    try:
        rest = values(arguments)
    except UserError:
        raise
    except Exception as error:  # absl and ml_collections raise almost anything
        raise _mended(error, given) from None
    if not isinstance(config.value, ConfigDict):
        raise _mended(ValueError("it is not a ConfigDict"), given)
    if len(rest) > 1:
        raise UserError(
            f"Unexpected argument {rest[1]!r}; flags start with two dashes."
        )
    if "config.genotype" in names(given) and not config.value.genotype:
        raise UserError(
            "--config.genotype has no value; give an architecture, such as "
            "--config.genotype=darts_v2, or leave the flag out to search for one."
        )
    _check_parts(config.value, names(given))
    architecture.inherit(
        config.value, [name.removeprefix("config.") for name in names(given)]
    )
    file = config_flags.get_config_filename(values["config"])
    return Flags(
        config.value, file, Path(workdir.value or default_workdir(file, config.value))
    )


def canonical(argv: Sequence[str]) -> list[str]:
    """The flags as --NAME=VALUE, each once: of a flag that is repeated the last counts.

    The config is first. A flag without a value, other than --config and --workdir, is
    left as it is: it sets a field to True, and --noconfig.FIELD sets it to False.

    >>> canonical(["-config.seed", "1", "--config=a.py", "--config.seed=2"])
    ['--config=a.py', '--config.seed=2']
    """
    last: dict[str, str] = {}
    rest = list(argv)
    while rest:
        flag = rest.pop(0)
        found = re.fullmatch(r"--?([A-Za-z][^=]*)(=.*)?", flag, re.S)
        if found is None:  # refused later
            last[flag] = flag
            continue
        name, value = found[1], found[2]
        if value is None and rest and not re.match(r"--?[A-Za-z]", rest[0]):
            value = f"={rest.pop(0)}"
        key = name.removeprefix("no") if name.startswith("noconfig.") else name
        last.pop(key, None)
        last[key] = f"--{name}{value or ''}"
    return [*filter(None, [last.pop("config", None)]), *last.values()]


def names(given: Iterable[str]) -> list[str]:
    """The names of flags such as --NAME=VALUE."""
    return [arg.lstrip("-").partition("=")[0] for arg in given]


def _check_parts(config: ConfigDict, given: Sequence[str]) -> None:
    """Refuses a setting of a part that the algorithm does not name."""
    from nasjax.experiment import validate

    validate.head(config)
    algorithm = config.algorithm
    named = parse(algorithm)
    for flag in given:
        part = (*flag.split("."), "", "")[2]
        if flag.startswith("config.arch.") and part in PARTS and part not in named:
            raise UserError(
                f"--{flag} was given, but {part} is no part of the algorithm "
                f"{algorithm!r}, which is {'+'.join(named)}; leave it out, or name "
                f"{part} in --config.algorithm."
            )


def _mended(error: Exception, argv: Sequence[str]) -> UserError:
    """The message for flags that absl or ml_collections refuse."""
    given = [arg.lstrip("-").partition("=")[::2] for arg in argv]
    file = dict(given)["config"]
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
                from nasjax.experiment import validate

                return validate.unknown_field(name, fields)
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
    space: dict[str, Any] = {"__name__": "config"}
    exec(compile(Path(path).read_text(), path, "exec"), space)
    return space["get_config"](*[variant] if variant else [])


def _first_line(error: Exception) -> str:
    text = str(error.args[0] if isinstance(error, KeyError) else error)
    return (text.splitlines() or [type(error).__name__])[0]


def _fields(config: dict[str, Any], prefix: str = "config.") -> dict[str, Any]:
    """Dotted name -> value of every field."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        inner = isinstance(value, dict)
        flat |= _fields(value, f"{prefix}{name}.") if inner else {prefix + name: value}
    return flat


def _run(config: ConfigDict, file: str, workdir: Path, argv: Sequence[str]) -> int:
    from nasjax.engine.programs import code
    from nasjax.engine.progress import Progress
    from nasjax.engine.signals import Interrupted
    from nasjax.experiment.run import run

    modules, several = [f"--import={name}" for name in GIVEN], _several(config)
    flags = canonical(argv) if several else argv  # those of one seed are made of them
    command = shlex.join(["python", "-m", "nasjax.main", *modules, *flags])
    try:
        with Progress(tensorboard=workdir / "tensorboard") as progress:
            run(config, workdir, progress, command, code(file.partition(":")[0]))
            if several:
                from nasjax.analysis import compare_report

                progress.line(
                    f"\n{compare_report.study([str(workdir)], output=str(workdir))}"
                )
    except Interrupted as stop:
        return _stop(f"{stop}\n  {command}", 128 + stop.signum)
    except KeyboardInterrupt:
        return _stop(
            f"Stopped; the same command resumes from the last checkpoint:\n  {command}",
            130,
        )
    return 0


def default_workdir(file: str, config: ConfigDict) -> str:
    """runs/<config>-<variant>-<8 hex digits of a hash of the config>.

    Of several seeds it ends with "-seeds", and does not depend on the seeds.

    Args:
      file: file of the config, with its :variant.
      config: the settings.
    """
    name, _, variant = os.path.basename(file).partition(":")
    several = _several(config)
    free = {*defaults.free_on_resume(), *["seed"] * several}
    fields = _fields(defaults.pruned(config.to_dict()), "")
    identity = {name: value for name, value in fields.items() if name not in free}
    resolved = json.dumps(identity, sort_keys=True)
    digest = hashlib.sha256(resolved.encode()).hexdigest()[:8]
    return f"runs/{name.removesuffix('.py')}-{variant or 'default'}-{digest}{'-seeds' * several}"


def _several(config: ConfigDict) -> bool:
    """True if the config asks for the runs of several seeds."""
    return config.get("seeds", 1) != 1


def _stop(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    leave(main)
