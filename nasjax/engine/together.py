"""Several runs whose states one program advances; each run has its own folder.

Every folder gets its own lines of the log and its own checkpoints, in the format of a
run alone. The time that passes is divided by the number of runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from nasjax.core.errors import UserError
from nasjax.engine.loop import Run, drive
from nasjax.engine.phase import Phase, Several
from nasjax.engine.progress import Progress
from nasjax.engine.signals import signals
from nasjax.engine.workdir import RunFolder


def run_together(
    phase: Phase,
    folders: Sequence[RunFolder],
    progress: Progress,
    checkpoint_every: int,
    log_every: int,
) -> dict[int, UserError]:
    """Runs a phase of several runs to its end, as `run_phase` does for one run.

    The newest checkpoints of all folders have to be of the same step. Afterwards each
    folder has the checkpoint of the last step, at which `run_phase` goes on.

    Args:
        phase: the phase of all runs; it has `several`, and is over at its last step.
        folders: of the runs.
        progress, checkpoint_every, log_every: see `run_phase`.

    Returns:
        Seed -> why its run broke. The other runs are finished.

    Raises:
        UserError: as by `run_phase`, if it concerns all runs.
        Interrupted: as by `run_phase`, after a checkpoint of every run is written.
    """
    assert phase.several is not None
    with signals() as flag, contextlib.closing(progress):
        with progress.waiting(f"{phase.name}: preparing", announced=False):
            runs = Together(phase, phase.several, folders, progress.line)
        try:
            drive(runs, flag, progress, checkpoint_every, log_every)
        except UserError:
            if len(runs.broken) < len(folders):
                raise
    return runs.broken


class Together:
    """Runs that are at the same step, with the methods of `Run`.

    A run that breaks keeps its place in the program, and its folder is left as it is.

    Attributes:
        broken: seed -> why its run ended early.
    """

    def __init__(
        self,
        phase: Phase,
        several: Several,
        folders: Sequence[RunFolder],
        say: Callable[[str], None],
    ):
        self.phase, self._several, self._say = phase, several, say
        self.broken: dict[int, UserError] = {}
        self._runs = [
            Run(several.alone(index), folder, 1 / len(folders))
            for index, folder in enumerate(folders)
        ]
        (self.step,) = {run.step for run in self._runs}
        self.state = phase.place(several.join([run.state for run in self._runs]))
        self._release()
        self._pending: list[tuple[int, Mapping[str, Any]]] = []

    def drop_later_lines(self) -> None:
        for run in self._runs:
            run.drop_later_lines()

    def compiled(self, spent: float) -> None:
        for run in self._runs:
            run.compiled(spent)

    def start_clock(self) -> None:
        for run in self._runs:
            run.start_clock()

    def advance(self) -> None:
        """One step of all runs."""
        self.state, metrics = self.phase.step(self.state, self.step)
        self.step += 1
        for run in self._runs:
            run.step = self.step
        if self._pending:  # as in `Run`
            jax.block_until_ready(self._pending[-1][1])
        self._pending.append((self.step, metrics))

    def ends_epoch(self) -> bool:
        return self._runs[0].ends_epoch()

    def place(self) -> str:
        count = len(self._runs) - len(self.broken)
        return f"{self._runs[0].place()}, mean of {count} seed(s)"

    def record(self) -> tuple[dict[str, float | None], list[Mapping[str, Any]]]:
        """Writes a line into each log; returns the mean line, and the lines by seed."""
        lines: list[Mapping[str, Any]] = []

        def record(seed: int, run: Run) -> None:
            line, _ = run.record()
            lines.append({**line, "seed": seed})

        self._share_out(states=self.ends_epoch())
        self._each(record)
        self._release()
        return mean(lines), lines

    def save(self) -> None:
        """Writes a checkpoint of this step into each folder, unless it is there."""
        if all(run.saved == self.step for run in self._runs):
            return
        self._share_out(states=True)
        self._each(lambda seed, run: run.save())
        self._release()

    def _share_out(self, states: bool) -> None:
        """Gives each run its metrics since the last call, and its state if asked for."""
        fetched = jax.device_get(self._pending)
        self._pending.clear()
        split = self._several.split(self.state) if states else None
        for index, run in enumerate(self._runs):
            if self._several.seeds[index] in self.broken:
                continue
            run.pending += [
                (step, {name: value[index] for name, value in metrics.items()})
                for step, metrics in fetched
            ]
            if split:
                run.state = split[index]

    def _release(self) -> None:
        """Frees the states of the runs, which would be kept beside those of the phase."""
        for run in self._runs:
            run.state = None

    def _each(self, act: Callable[[int, Run], None]) -> None:
        """act(seed, run) for every run that is not broken.

        Raises:
            UserError: of the first run, if all runs are broken.
        """
        for seed, run in zip(self._several.seeds, self._runs, strict=True):
            if seed in self.broken:
                continue
            try:
                act(seed, run)
            except UserError as error:
                self.broken[seed] = error
                self._say(f"seed {seed} ended; the others go on: {error}")
        if len(self.broken) == len(self._runs):
            raise next(iter(self.broken.values()))


def mean(lines: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The means of the metrics of lines; None for a metric that a line lacks or has as
    None, and without the seed.

    >>> mean([{"loss": 1.0, "ratio": 2.0, "seed": 3}, {"loss": 2.0, "ratio": None}])
    {'loss': 1.5, 'ratio': None}
    """
    found: dict[str, float | None] = {}
    for name in lines[0] if lines else ():
        values = [line.get(name) for line in lines]
        known = [value for value in values if value is not None]
        whole = len(known) == len(values)
        found[name] = sum(known) / len(known) if whole else None
    found.pop("seed", None)
    return found
