"""Algorithms x settings x seeds: one process and one folder for every run.

    nasjax sweep --configs darts_first zarts_mgs \\
        --seeds 0 1 2 --into runs/study -- --config.search.epochs=4
    nasjax compare runs/study

R-DARTS in its form with weight decay (Zela et al., ICLR 2020, arXiv 1909.09656) is the
best of a grid:

    nasjax sweep --configs darts_first:cifar10 --seeds 0 1 2 \\
        --grid config.search.weight_decay=3e-4,9e-4,27e-4,81e-4,243e-4 --into runs/rdarts \\
        -- --config.data.path=F.npz

Flags after `--` are passed to every run. Seeds are the outermost loop: a sweep that is
stopped early has about the same number of runs of every setting. The same command
resumes a sweep: it skips finished runs and resumes the others. A run that fails does
not stop the others. After Ctrl-C or SIGTERM every run writes its checkpoint.

`--list` prints the commands and runs nothing, `--only N` runs command N, from 0; the
scripts slurm.sh and tpu_vm.sh in this folder use both. `python -m launch.sweep` in a
clone is the same command.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from nasjax.core.errors import UserError
from nasjax.core.imports import GIVEN
from nasjax.engine.program import Parser, execute

from .plan import Run, check, plan
from .workers import PROGRAM, cores, sweep


def main(argv: Sequence[str] | None = None, program: Sequence[str] = PROGRAM) -> int:
    """Runs one command; returns the exit code, 2 for errors a user can fix.

    Args:
      argv: arguments after the program's name; None for `sys.argv[1:]`.
      program: command to run instead of nasjax.main.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    split = given.index("--") if "--" in given else len(given)
    run = lambda own: _run(own, given[split:], program)
    return execute("nasjax sweep", run, given[:split])


def _run(own: Sequence[str], rest: Sequence[str], program: Sequence[str]) -> int:
    a, flags = _parser().parse_args(own), rest[1:]
    runs = plan(a.configs, a.seeds, a.grid, a.into, flags)
    if program == PROGRAM:  # another program has other fields
        check(runs)
    if a.only is not None:
        runs = [_numbered(runs, number) for number in a.only]
    if a.list:
        for run in runs:
            print(shlex.join(["python", "-m", "nasjax.main", *run.flags]))
        return 0
    jobs = len(cores()) if a.jobs is None else a.jobs
    if jobs < 1:
        raise UserError(f"--jobs was given {jobs}; expected a positive integer.")
    try:
        a.into.mkdir(parents=True, exist_ok=True)
        runs[0].log.touch()
    except OSError as error:
        raise UserError(
            f"Cannot write to {a.into}: {error.strerror}; give another folder with "
            "--into."
        ) from None
    modules = [f"--import={name}" for name in GIVEN]
    command = shlex.join(["nasjax", "sweep", *modules, *own, *rest])
    return sweep(runs, jobs, command, program)


def _numbered(runs: Sequence[Run], number: int) -> Run:
    if not 0 <= number < len(runs):
        raise UserError(
            f"--only was given {number}; expected numbers from 0 to "
            f"{len(runs) - 1}, in the order of --list."
        )
    return runs[number]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="nasjax sweep",
        usage="%(prog)s --configs FILE... --into FOLDER [--seeds N...] "
        "[--grid FIELD=VALUE,VALUE]... [--jobs N] [--list] [--only N...] "
        "[-- --config.FIELD=VALUE ...]",
        description="Algorithms x settings x seeds: one process and one folder for "
        "every run. Flags after -- are passed to every run.",
        epilog="Scripts for Slurm and Cloud TPUs, slurm.sh and tpu_vm.sh, are in "
        f"{Path(__file__).parent}",
    )
    add = parser.add_argument
    about = "config files or names of `configs/`, each with an optional :variant"
    add("--configs", nargs="+", required=True, metavar="FILE", help=about)
    about = "the folder for a folder and a log of every run"
    add("--into", type=Path, required=True, metavar="FOLDER", help=about)
    about = "seeds (default: 0)"
    add("--seeds", nargs="+", type=int, default=[0], metavar="N", help=about)
    about = "a field and its values; several --grid give all combinations"
    add("--grid", action="append", default=[], metavar="FIELD=VALUE,VALUE", help=about)
    about = "runs at once (default: one for every core); 1 on an accelerator"
    add("--jobs", type=int, metavar="N", help=about)
    add("--list", action="store_true", help="print the commands and run nothing")
    about = "numbers, from 0, of the runs to start, in the order of --list"
    add("--only", nargs="+", type=int, metavar="N", help=about)
    return parser


if __name__ == "__main__":
    sys.exit(main())
