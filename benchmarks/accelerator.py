"""nasjax on an accelerator: does it run, is it correct, how fast is it.

    python -m benchmarks.accelerator --budget 600 -o results/accelerator
    python -m benchmarks.accelerator --dry -o FOLDER

The parts, the most important first:

    run          the default run of ZARTS-MGS, killed once and resumed
    correct      gradients in float32 against the CPU in float64
    fast         the steps of DARTS against PyTorch, and against the floor
    candidates   a step of ZARTS-MGS against the number of its candidates
    seeds        many seeds of one search as one program
    search       real searches on NAS-Bench-201 (needs --cifar)

Each part writes FOLDER/PART.json and prints a line after every result: a part that is
cut off keeps its results so far. A part that fails records its error there, and the
next part starts. Each part runs in its own process, except with --dry.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import os
import shlex
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.record import Plan, Record, header
from nasjax.core.errors import UserError, unknown


class Part(NamedTuple):
    """A part of the benchmark.

    Attributes:
      module: module with a function of the part's name, which takes a `Record`.
      least: seconds that have to be left for the part to start.
      share: largest share of the budget that it takes; later parts keep their `least`.
    """

    module: str
    least: float
    share: float


GRACE = 5  # seconds in which a part can report that its time is over
PARTS = {
    "run": Part("benchmarks.runs", 45, 0.35),
    "correct": Part("benchmarks.correct", 45, 0.3),
    "fast": Part("benchmarks.fast", 60, 0.5),
    "candidates": Part("benchmarks.many", 45, 0.3),
    "seeds": Part("benchmarks.many", 30, 0.2),
    "search": Part("benchmarks.runs", 60, 1.0),
}


def main(argv: list[str] | None = None) -> None:
    arguments = _arguments(argv)
    # Several processes share a card, and none may take most of its memory in advance.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    try:
        names = _chosen(arguments.parts)
        plan = _plan(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    until = time.time() + arguments.budget
    for index, name in enumerate(names):
        part, now = PARTS[name], time.time()
        later = sum(PARTS[other].least for other in names[index + 1 :])
        own = min(part.share * arguments.budget, max(until - later - now, part.least))
        record = Record(name, plan, min(until, now + own))
        if plan.dry:
            execute(record)
        elif record.left < part.least:
            reason = (
                f"it needs {part.least:g} s, and {max(record.left, 0):.0f} s are left"
            )
            record.keep(f"skipped: {reason}", skipped=reason)
        else:
            _apart(record)


def execute(record: Record) -> None:
    """Runs a part in this process; the report keeps its exception."""
    began = time.time()
    record.keep()
    try:
        record.keep(header=header(record.plan.command))
        module = importlib.import_module(PARTS[record.name].module)
        getattr(module, record.name)(record)
    except Exception as error:
        record.failed(error)
    took = time.time() - began
    record.keep(f"ended after {took:.0f} s", seconds=took)


def _apart(record: Record) -> None:
    """Runs a part in its own process, and ends it when its time is over."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_execute_alone, args=(record,))
    process.start()
    process.join(record.left + GRACE)
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)  # with its children
        process.join()
        record.resume()
        record.keep("stopped, its time is over", stopped=True)
    elif process.exitcode:
        record.resume()
        message = f"its process ended with code {process.exitcode}"
        record.keep(message, error={"type": "exit", "message": message})


def _execute_alone(record: Record) -> None:
    os.setpgrp()
    execute(record)


def _chosen(names: str) -> list[str]:
    """The requested parts, in the order of `PARTS`."""
    asked = [name for name in names.split(",") if name]
    for name in asked:
        if name not in PARTS:
            raise unknown("part", name, PARTS)
    return [name for name in PARTS if name in asked or not asked]


def _plan(arguments: argparse.Namespace) -> Plan:
    file = arguments.cifar
    if file is not None and not file.is_file():
        raise UserError(f"There is no file {str(file)!r}; give one with --cifar.")
    if arguments.budget <= 0:
        raise UserError(
            f"--budget was given {arguments.budget:g}; expected seconds above 0."
        )
    try:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {str(arguments.folder)!r} cannot be made "
            f"({error.strerror}); give another one with -o."
        ) from error
    command = "python -m benchmarks.accelerator"
    for name in ("budget", "parts", "dry", "cifar"):
        value = getattr(arguments, name)
        if value:
            given = value.name if isinstance(value, Path) else str(value)
            command += f" --{name}" + (
                "" if value is True else f" {shlex.quote(given)}"
            )
    return Plan(arguments.folder, arguments.dry, command, arguments.cifar)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    folder = Path("results/accelerator")
    parser.add_argument("-o", "--folder", type=Path, default=folder, help=f"({folder})")
    parser.add_argument("--budget", type=float, default=600, help="seconds (600)")
    parser.add_argument("--parts", default="", help="parts, separated by commas (all)")
    parser.add_argument("--dry", action="store_true", help="smallest sizes, on a CPU")
    parser.add_argument(
        "--cifar", type=Path, help=".npz file of CIFAR-10's training set"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
