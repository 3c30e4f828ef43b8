"""The processes of a sweep: at most `jobs` at once, each on its own cores."""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .plan import Run

PROGRAM = (sys.executable, "-m", "nasjax.main")
POLL_SECONDS = 0.1
# Closing the terminal sends SIGHUP, which nasjax.main does not handle.
PASSED_ON = {
    "SIGINT": signal.SIGINT,
    "SIGTERM": signal.SIGTERM,
    "SIGHUP": signal.SIGTERM,
}


class Running(NamedTuple):
    run: Run
    process: subprocess.Popen[bytes]
    begun: float


def shares(every: Sequence[int], jobs: int) -> list[list[int]]:
    """The cores of each of `jobs` processes that run at once.

    >>> shares([0, 1, 2, 3, 4], 2), shares([0, 1], 3)
    ([[0, 1], [2, 3, 4]], [[0], [1], [0]])
    """
    count = len(every)
    if jobs > count:
        return [[every[job % count]] for job in range(jobs)]
    return [
        list(every[job * count // jobs : (job + 1) * count // jobs])
        for job in range(jobs)
    ]


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@contextlib.contextmanager
def _only_on(share: Sequence[int]) -> Iterator[None]:
    """Processes that are started in this context run on these cores.

    XLA makes a thread for every core that it may use. Without this, two runs of two
    threads on two cores would constantly wait for each other.
    """
    if not hasattr(os, "sched_setaffinity"):  # macOS, Windows
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, share)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _signals() -> Iterator[list[signal.Signals]]:
    """A list to which every signal that stops the sweep is appended."""
    caught: list[signal.Signals] = []
    before: dict[int, Any] = {}
    for name in PASSED_ON:
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # A signal that is ignored, as under nohup, stays ignored.
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            handler = lambda signum, _: caught.append(signal.Signals(signum))
            before[number] = signal.signal(number, handler)
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(run: Run, share: Sequence[int], program: Sequence[str]) -> Running:
    with open(run.log, "ab") as log, _only_on(share):
        # Outside our process group: otherwise a run gets Ctrl-C twice, from the
        # terminal and from us, and the second one stops it without a checkpoint.
        process = subprocess.Popen(
            [*program, *run.flags], stdin=subprocess.DEVNULL, stdout=log,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    return Running(run, process, time.monotonic())


def sweep(
    runs: Sequence[Run], jobs: int, command: str, program: Sequence[str] = PROGRAM
) -> int:
    """Runs the unfinished runs, at most `jobs` at once.

    Args:
      runs: all runs of the sweep.
      jobs: number of processes at once.
      command: the command that resumes the sweep, for a message.
      program: the command of a run, without its flags.

    Returns:
      the exit code: 0; 1 if runs failed; 128 + the number of the stopping signal.
    """
    todo = collections.deque(run for run in runs if not run.finished)
    if len(todo) < len(runs):
        _say(f"{len(runs) - len(todo)} of {len(runs)} runs are finished already")
    free = shares(cores(), min(jobs, len(todo)))
    running: list[tuple[Running, list[int]]] = []
    failed: dict[Run, int] = {}
    stop: signal.Signals | None = None
    with _signals() as caught:
        while running or (todo and stop is None):
            while todo and free and stop is None:
                run, share = todo.popleft(), free.pop(0)
                running.append((_start(run, share, program), share))
                _say(f"started {run.folder.name} on {len(share)} core(s)")
            ended = [each for each in running if each[0].process.poll() is not None]
            for each in ended:
                running.remove(each)
                (run, process, begun), share = each
                free.append(share)
                code = process.returncode
                if code and stop is None:
                    failed[run] = code
                word = "finished" if not code else "stopped" if stop else "failed"
                _say(
                    f"{word} {run.folder.name} after {_duration(begun)}; "
                    f"{len(running) + len(todo)} left"
                )
            while caught:
                signum = caught.pop(0)
                first, stop = stop is None, stop or signum
                for own, _ in running:
                    own.process.send_signal(PASSED_ON[signum.name])
                again = "; press Ctrl-C again to end them now"
                hint = again if first and signum == signal.SIGINT else ""
                _say(f"{signum.name}: stopping {len(running)} run(s){hint}")
            time.sleep(POLL_SECONDS)
    return _close(runs, failed, stop, command)


def _close(
    runs: Sequence[Run], failed: dict[Run, int], stop: int | None, command: str
) -> int:
    """Prints the summary; returns the exit code."""
    for run, code in failed.items():
        written = run.log.read_text(errors="replace").strip()
        last = written.splitlines()[-1] if written else "nothing was written"
        last = textwrap.shorten(last, 200)
        _say(f"{run.folder.name} failed with exit code {code}: {last}\n  see {run.log}")
    done = sum(run.finished for run in runs)
    _say(f"{done} of {len(runs)} runs are finished")
    if done < len(runs):
        _say(f"The same command resumes the others:\n  {command}")
    return 128 + stop if stop is not None else int(bool(failed))


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be closed
        print(text, flush=True)


def _duration(begun: float) -> str:
    return str(datetime.timedelta(seconds=round(time.monotonic() - begun)))
