"""Algorithms x settings x seeds: one process and one folder for every run.

    python -m launch.sweep --configs configs/darts_first.py configs/zarts_mgs.py \\
        --seeds 0 1 2 --into runs/study -- --config.search.epochs=4
    nasjax compare runs/study

R-DARTS in its form with weight decay (Zela et al., ICLR 2020, arXiv 1909.09656) is the
best of a grid:

    python -m launch.sweep --configs configs/darts_first.py:cifar10 --seeds 0 1 2 \\
        --grid config.search.weight_decay=3e-4,9e-4,27e-4,81e-4,243e-4 --into runs/rdarts \\
        -- --config.data.path=F.npz

What follows `--` goes to every run. Seeds are the outermost loop, so that a sweep that
is stopped early has about as many runs of every setting. The same command goes on with
a sweep: what is finished is skipped, the rest resumes. A run that fails does not stop
the others. Ctrl-C and SIGTERM let every run write its checkpoint.

Run it from the repository's root. `--list` prints the commands and runs nothing,
`--only N` runs the Nth of them; launch/slurm.sh and launch/tpu_vm.sh build on both.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.plan import Run, plan
from launch.workers import PROGRAM, cores, sweep
from nasjax.core.errors import UserError


def main(argv: Sequence[str] | None = None, program: Sequence[str] = PROGRAM) -> int:
    """Runs one command; returns the exit code, 2 for anything a user can mend.

    Args:
      argv: the arguments after the program's name; None: those of the process.
      program: what runs in the place of nasjax.main.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    split = given.index("--") if "--" in given else len(given)
    try:
        return _run(_parser().parse_args(given[:split]), given[split + 1 :], program)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _run(a: argparse.Namespace, flags: Sequence[str], program: Sequence[str]) -> int:
    runs = plan(a.configs, a.seeds, a.grid, a.into, flags)
    if a.only is not None:
        runs = [_numbered(runs, number) for number in a.only]
    if a.list:
        for run in runs:
            print(shlex.join(["python", "-m", "nasjax.main", *run.flags]))
        return 0
    jobs = len(cores()) if a.jobs is None else a.jobs
    if jobs < 1:
        raise UserError(f"--jobs was given {jobs}; expected a whole number above 0.")
    try:
        a.into.mkdir(parents=True, exist_ok=True)
        runs[0].log.touch()
    except OSError as error:
        raise UserError(
            f"Cannot write to {a.into}: {error.strerror}; give another folder with "
            "--into."
        ) from None
    return sweep(runs, jobs, program)


def _numbered(runs: Sequence[Run], number: int) -> Run:
    if not 0 <= number < len(runs):
        raise UserError(
            f"--only was given {number}; the runs have the numbers 0 to "
            f"{len(runs) - 1}, in the order of --list."
        )
    return runs[number]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m launch.sweep",
        usage="%(prog)s --configs FILE... --into FOLDER [--seeds N...] "
        "[--grid FIELD=VALUE,VALUE]... [--jobs N] [--list] [--only N...] "
        "[-- --config.FIELD=VALUE ...]",
        description="Algorithms x settings x seeds: one process and one folder for "
        "every run. What follows -- goes to every run.",
    )
    add = parser.add_argument
    about = "config files, each with an optional :variant"
    add("--configs", nargs="+", required=True, metavar="FILE", help=about)
    about = "the folder that gets a folder and a log for every run"
    add("--into", type=Path, required=True, metavar="FOLDER", help=about)
    about = "seeds (default: 0)"
    add("--seeds", nargs="+", type=int, default=[0], metavar="N", help=about)
    about = "a field and its values; several --grid make all combinations"
    add("--grid", action="append", default=[], metavar="FIELD=VALUE,VALUE", help=about)
    about = "runs at once (default: one for every core); 1 on an accelerator"
    add("--jobs", type=int, metavar="N", help=about)
    add("--list", action="store_true", help="print the commands and run nothing")
    about = "the numbers, from 0, of the runs to make, in the order of --list"
    add("--only", nargs="+", type=int, metavar="N", help=about)
    return parser


if __name__ == "__main__":
    sys.exit(main())
