"""The command line: `nasjax NAME ARGUMENTS`.

`COMMANDS` has a row for each name. The module of a command is imported when the command
runs, which keeps `nasjax --help` fast.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from nasjax import __version__
from nasjax.core.errors import needing, unknown
from nasjax.core.foreign import tame
from nasjax.engine.beside import leave
from nasjax.engine.program import execute
from nasjax.experiment import configs


class Command(NamedTuple):
    """A row of the table.

    Attributes:
      module: has `main(argv) -> exit code`.
      about: the line of `nasjax --help`.
    """

    module: str
    about: str


COMMANDS = {
    "run": Command("nasjax.main", "search, retrain and test; or resume"),
    "retrain": Command("nasjax.commands.retrain", "train a given architecture"),
    "sweep": Command("nasjax.launch.sweep", "run algorithms x settings x seeds"),
    "list": Command(
        "nasjax.commands.list", "list algorithms, spaces, published cells, data sets"
    ),
    "show": Command("nasjax.commands.show", "show the state of a run"),
    "report": Command("nasjax.commands.report", "write a report of a run"),
    "compare": Command("nasjax.commands.compare", "compare the seeds of finished runs"),
    "count": Command("nasjax.commands.count", "count parameters and multiply-adds"),
    "draw": Command("nasjax.commands.draw", "draw the cells of a genotype"),
    "stability": Command("nasjax.analysis.stability", "signs of a search's collapse"),
    "convergence": Command(
        "nasjax.analysis.convergence", "architectures of every k-th epoch"
    ),
    "landscape": Command(
        "nasjax.analysis.landscape", "the loss on a plane around alpha"
    ),
    "condition": Command(
        "nasjax.analysis.condition", "condition numbers of the loss in alpha"
    ),
    "importance": Command("nasjax.analysis.importance", "the weights of MGS"),
    "saliency": Command(
        "nasjax.commands.saliency", "draw and measure saliency maps of a run"
    ),
    "testbed": Command(
        "nasjax.commands.testbed", "compare searches on NAS-Bench-201's table"
    ),
}
MEANT = {  # what other programs call commands
    "search": ["run"],
    "resume": ["run"],
    "train": ["run", "retrain"],
    "evaluate": ["retrain"],
    "eval": ["retrain"],
    "test": ["retrain"],
    "plot": ["draw", "report"],
    "status": ["show"],
}
# These need no accelerator. `console` has them work without the device that
# JAX_PLATFORMS names, and take no memory of a device.
ON_CPU = ("list", "show", "report", "compare", "count", "draw", "testbed")
_USAGE = "usage: nasjax COMMAND ..."


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns the exit code.

    Args:
      argv: arguments after the program's name; None for `sys.argv[1:]`.

    Returns:
      see `nasjax.engine.program.execute`.

    Raises:
      SystemExit: 2 for arguments that do not parse, 0 for --help.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    known = bool(given) and given[0] in COMMANDS
    return execute(f"nasjax {given[0]}" if known else "nasjax", _main, given)


def _main(argv: Sequence[str]) -> int:
    name, rest = (argv or [""])[0], argv[1:]
    if name == "help" and rest:
        name, rest = rest[0], ["--help"]
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"nasjax {__version__}")
        return 0
    if not name:
        sys.stderr.write(_help() + "\n")
        return 2
    if name not in COMMANDS:
        raise unknown("command", name, COMMANDS, meant=MEANT.get(name.lower(), ()))
    module = COMMANDS[name].module
    if module.startswith("nasjax.launch") and find_spec("nasjax.launch") is None:
        module = module.removeprefix("nasjax.")  # in a clone
        sys.path.append(str(Path(__file__).parents[1]))
    with needing(f"nasjax {name}"):
        return importlib.import_module(module).main(rest)


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = (f"  {name:<{width}}  {about}" for name, (_, about) in COMMANDS.items())
    return "\n".join(
        (
            _USAGE,
            "",
            "Neural architecture search in JAX.",
            "",
            *rows,
            "",
            "Configs, as in `nasjax run --config=zarts_mgs`:",
            "",
            *configs.table(),
            "",
            "`nasjax COMMAND --help` explains a command. Every command takes",
            "--import=FILE.py or --import=MODULE: a module that registers your own",
            "algorithms, operations, spaces, data sets or kinds of data.",
        )
    )


def console() -> None:
    """The console script; it does not wait for background jobs of a run."""
    tame()
    if sys.argv[1:2] and sys.argv[1] in ON_CPU:
        os.environ["JAX_PLATFORMS"] = "cpu"
    leave(main)


if __name__ == "__main__":
    console()
