"""The training loop: steps, evaluation, progress, checkpoints, resume, signals.

Searching and retraining are phases of the loop. A killed phase resumes from its last
checkpoint; on the same machine it ends with the same bits as an uninterrupted phase.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.core.errors import UserError
from nasjax.engine.checkpoint import Checkpoints
from nasjax.engine.phase import Phase, State
from nasjax.engine.progress import Progress
from nasjax.engine.signals import STEP, Interrupted, doing, signals
from nasjax.engine.workdir import RunFolder


class Outcome(NamedTuple):
    """The outcome of a phase.

    Attributes:
        state: state after the last step.
        seconds: "compile" (with init) and "run" (with evaluations and checkpoints),
            summed over restarts. Time that a killed start spent after its last
            checkpoint is not known and not counted.
        metrics: metrics of the last evaluation.
    """

    state: State
    seconds: dict[str, float]
    metrics: dict[str, float]


def run_phase(
    phase: Phase,
    folder: RunFolder,
    progress: Progress,
    checkpoint_every: int,
    log_every: int,
) -> Outcome:
    """Runs `phase` to its end, from its last checkpoint in `folder` if there is one.

    Metrics stay on the device until a log line is due: every `log_every` steps and when
    an epoch ends. The line has the metrics of its step and of the evaluation. Any
    metric named "loss" or "..._loss" must be finite at every step. A finished phase
    returns its earlier outcome without compiling anything.

    Args:
        phase: the phase to run.
        folder: folder of the run, with `metrics.jsonl` and `checkpoints/NAME`.
        progress: display that is updated at every step.
        checkpoint_every: number of steps between checkpoints; the last step always has
            one.
        log_every: number of steps between log lines.

    Raises:
        UserError: a loss or a number of the state is not finite (such a state is never
            saved); a checkpoint cannot be read or written.
        Interrupted: on SIGTERM or Ctrl-C, after a checkpoint is written.
        KeyboardInterrupt: on a second Ctrl-C; the last checkpoint remains.
    """
    with signals() as flag, contextlib.closing(progress):
        with progress.waiting(f"{phase.name}: preparing", announced=False):
            run = Run(phase, folder)
        drive(run, flag, progress, checkpoint_every, log_every)
    return Outcome(run.state, run.seconds(), run.evaluation)


def drive(run, flag, progress: Progress, checkpoint_every: int, log_every: int) -> None:
    """The loop: takes a `Run`, or runs that go together, to the end of the phase.

    Args:
        run: what is run; `nasjax.engine.together.Together` has the methods of `Run`.
        flag: see `signals`.
        progress, checkpoint_every, log_every: see `run_phase`.
    """
    phase = run.phase
    if min(checkpoint_every, log_every, phase.steps_per_epoch) < 1:
        raise UserError(
            f"checkpoint_every ({checkpoint_every}), log_every ({log_every}) and the "
            f"steps of an epoch ({phase.steps_per_epoch}) must be 1 or more."
        )
    run.drop_later_lines()
    over = run.step >= phase.steps or phase.over()
    if not over and flag.signum is None:
        begun = time.perf_counter()
        with progress.waiting(f"{phase.name}: compiling"):
            remark = phase.compile(run.state)
        spent = time.perf_counter() - begun
        run.compiled(spent)
        progress.line(f"{phase.name}: compiled in {spent:.1f} s")
        if remark:
            progress.line(f"{phase.name}: {remark}")
    progress.update(phase.name, run.step, phase.steps, {})
    run.start_clock()
    remark = None
    while flag.signum is None and not over:
        with doing(STEP):
            run.advance()
            line, words, each = {}, [], []
            if run.step % log_every == 0 or run.ends_epoch():
                line, each = run.record()
                words = [run.place(), *phase.words(line)]
            try:
                progress.update(phase.name, run.step, phase.steps, line, words, each)
            except Exception:  # of a callback
                run.save()
                raise
            if run.ends_epoch() and not remark and (remark := phase.remark(line)):
                progress.line(f"{phase.name}: {remark}")
            if run.step % checkpoint_every == 0 or phase.keeps(run.step, run.step):
                run.save()
        over = run.step >= phase.steps or (run.ends_epoch() and phase.over())
    with doing(STEP):
        run.save()
    if flag.signum is not None:
        raise Interrupted(phase.name, run.step, flag.signum)


class Run:
    """A running phase: its state, its step, and metrics that are not fetched yet.

    share: of the time that passes; the part of a run that shares its program.
    """

    def __init__(self, phase: Phase, folder: RunFolder, share: float = 1.0):
        self.phase, self.folder, self.share = phase, folder, share
        self.checkpoints = Checkpoints(
            folder.path / "checkpoints" / phase.name, also=phase.keeps
        )
        self.evaluation: dict[str, float] = {}
        self.compile_seconds = self.run_seconds = 0.0
        self.pending: list[tuple[int, Mapping[str, jax.Array]]] = []
        self.saved = self.checkpoints.latest()
        if self.saved is None:
            begun = time.perf_counter()
            initial = jax.tree.map(_strong, phase.init())
            self.step, self.state = phase.start, phase.place(initial)
            self.compile_seconds = time.perf_counter() - begun
        else:
            self.step, state, meta = self.checkpoints.restore(phase.abstract())
            self.state = phase.place(state)
            self.evaluation = meta["evaluation"]
            self.compile_seconds = meta["seconds"]["compile"]
            self.run_seconds = meta["seconds"]["run"]
        self.start_clock()

    def drop_later_lines(self) -> None:
        """Drops lines of the log that will be written again."""
        self.folder.drop_after(self.phase.name, self.step)

    def compiled(self, spent: float) -> None:
        """Counts the time of a compilation, in seconds."""
        self.compile_seconds += spent * self.share

    def start_clock(self) -> None:
        """Counts run time from now on."""
        self.begun = time.perf_counter() - self.run_seconds / self.share

    def clock(self) -> float:
        """Seconds of run time so far."""
        return (time.perf_counter() - self.begun) * self.share

    def advance(self) -> None:
        """One step."""
        self.state, metrics = self.phase.step(self.state, self.step)
        self.step += 1
        if self.pending:
            # The device is at most one step ahead: a signal must not wait for a long
            # queue, and the progress bar must not show steps that are not done.
            jax.block_until_ready(self.pending[-1][1])
        self.pending.append((self.step, metrics))

    def ends_epoch(self) -> bool:
        """True if an evaluation is due."""
        return (
            self.step % self.phase.steps_per_epoch == 0 or self.step == self.phase.steps
        )

    def epoch(self, step: int) -> int:
        """The epoch of a step; epochs count from 1."""
        return -(-step // self.phase.steps_per_epoch)

    def place(self) -> str:
        """The epoch of this step, and within an epoch the step, in words."""
        steps = self.phase.steps
        within = "" if self.ends_epoch() else f", step {self.step}/{steps}"
        return f"epoch {self.epoch(self.step)}/{self.epoch(steps)}{within}"

    def record(self) -> tuple[dict[str, float | None], list[Mapping[str, Any]]]:
        """Writes the line of the log of this step; returns the line, and lines by run."""
        line = self.look()
        self.folder.log(self.stamp(line))
        return line, [line]

    def look(self) -> dict[str, float | None]:
        """The metrics of this step, and of the evaluation if one is due."""
        metrics = self.check_losses()
        if self.ends_epoch():
            values = {k: _python(v) for k, v in self.phase.evaluate(self.state).items()}
            self.refuse_broken(self.step, values)
            self.evaluation = values
            metrics |= values
        return {k: v if math.isfinite(v) else None for k, v in metrics.items()}

    def check_losses(self) -> dict[str, float]:
        """Fetches and checks pending metrics; returns the metrics of the last step."""
        metrics: dict[str, float] = {}
        for step, values in jax.device_get(self.pending):
            metrics = {name: _python(value) for name, value in values.items()}
            self.refuse_broken(step, metrics)
        self.pending.clear()
        return metrics

    def refuse_broken(self, step: int, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            loss = name == "loss" or name.endswith("_loss")
            if loss and not math.isfinite(value):
                raise self.broken(f"{name} became {value}", step)

    def broken(self, what: str, step: int) -> UserError:
        saved = self.checkpoints.latest()
        last = "there is no checkpoint yet"
        if saved is not None:
            path = self.checkpoints.directory / str(saved)
            last = f"the last good checkpoint is of step {saved}, {path}"
        return UserError(
            f"{what} at step {step} of phase {self.phase.name} and the run stopped "
            f"({last}); try a lower learning rate or stronger gradient clipping, and "
            "look for broken values in the data."
        )

    def save(self) -> None:
        """Writes a checkpoint of this step, unless there is one."""
        if self.saved == self.step:
            return
        self.check_losses()
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.state):
            inexact = jnp.issubdtype(leaf.dtype, jnp.inexact)
            if inexact and not np.isfinite(np.asarray(leaf)).all():
                name = "state" + jax.tree_util.keystr(path)
                raise self.broken(f"{name} was not finite", self.step)
        meta = {"seconds": self.seconds(), "evaluation": self.evaluation}
        self.checkpoints.save(self.step, self.state, meta)
        self.saved = self.step

    def seconds(self) -> dict[str, float]:
        """Compile and run time so far, in seconds; the clock stops at a checkpoint."""
        if self.saved != self.step:
            self.run_seconds = self.clock()
        return {"compile": self.compile_seconds, "run": self.run_seconds}

    def stamp(self, metrics: Mapping[str, float | None]) -> dict[str, Any]:
        """The log line of this step."""
        return {
            "phase": self.phase.name,
            **({"estimator": self.phase.estimator} if self.phase.estimator else {}),
            "step": self.step,
            "epoch": self.epoch(self.step),
            **metrics,
            "seconds": round(self.clock(), 3),
        }


def _strong(leaf: Any) -> jax.Array:
    """The leaf without a weak type, which a checkpoint does not keep."""
    if getattr(leaf, "weak_type", True):
        return jnp.asarray(leaf, jnp.result_type(leaf))
    return leaf


def _python(value: Any) -> float:
    return np.asarray(value).item()
