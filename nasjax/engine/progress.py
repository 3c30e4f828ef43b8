"""The progress display of a run: a bar on a terminal, plain lines otherwise.

TensorBoard events are written as well if tensorboardX is installed.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from nasjax.core.files import writing

REFRESH_SECONDS = 0.1
PAUSE = 0.5  # seconds between lines on the steps of a phase, but before its last
PATIENCE = 30.0  # seconds between lines while nothing else is written

Callback = Callable[[str, int, dict[str, float | None]], object]
"""(phase, step, metrics) of a line of the log; the returned value is ignored."""


class Progress:
    """Shows lines of text and the progress of one phase at a time.

    Use it as a context manager: it restores the state of the terminal.

    Args:
        stream: stream to write to; None: standard output.
        quiet: True writes nothing, for tests and notebooks.
        tensorboard: a folder for TensorBoard events, one sub-folder per phase; not
            used when tensorboardX is not installed.

    Attributes:
        callbacks: called with the metrics of each line.
        seed: of the run that is shown, if a command runs several one after the other.
    """

    callbacks: Sequence[Callback] = ()
    seed: int | None = None

    def __init__(
        self,
        stream: TextIO | None = None,
        quiet: bool = False,
        tensorboard: Path | None = None,
    ):
        self._stream = None if quiet else stream or sys.stdout
        self._tensorboard = tensorboard
        self._phase: str | None = None
        self._begun = (0, 0.0)  # step and time at which this phase was opened
        self._shown = 0.0
        self._written = -PAUSE  # time of the last line on a step
        self._bar: Any = None
        self._writer: Any = None
        self._console: Any = None
        if self._stream is not None and self._stream.isatty():
            from rich.console import Console

            console = Console(
                file=self._stream, highlight=False, markup=False, emoji=False
            )
            self._console = None if console.is_dumb_terminal else console

    def line(self, text: str) -> None:
        """Writes `text`, after the seed if there is one, above the bar."""
        text = text if self.seed is None else f"seed {self.seed}: {text}"
        if self._console is not None:
            self._console.print(text, soft_wrap=True)
        elif self._stream is not None:
            self._stream.write(text + "\n")
            self._stream.flush()

    @contextlib.contextmanager
    def waiting(self, text: str, announced: bool = True) -> Iterator[None]:
        """On a terminal a spinner with `text` and the elapsed time; else lines.

        The lines have `text` and the time, every `PATIENCE` seconds.

        Args:
            text: what is waited for.
            announced: True also writes a line at once, where there is no terminal.
        """
        if self._stream is None:
            yield
            return
        if self._console is None:
            with self._repeated(text):
                if announced:
                    self.line(text)
                yield
            return
        from rich import progress

        columns = (
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}"),
            progress.TimeElapsedColumn(),
        )
        # XLA works without Python, so the thread that turns the spinner is not held up.
        with progress.Progress(*columns, console=self._console, transient=True) as bar:
            bar.add_task(text, total=None)
            yield

    @contextlib.contextmanager
    def _repeated(self, text: str) -> Iterator[None]:
        begun, over = time.monotonic(), threading.Event()

        def repeat() -> None:
            while not over.wait(PATIENCE):
                self.line(f"{text}, for {duration(time.monotonic() - begun)} so far")

        thread = threading.Thread(target=repeat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def update(
        self,
        phase: str,
        step: int,
        steps: int,
        metrics: Mapping[str, float | None],
        words: Sequence[str] = (),
        each: Sequence[Mapping[str, float | None]] = (),
    ) -> None:
        """Shows that `step` of the `steps` of `phase` are done.

        Call it once without metrics when a phase starts or resumes. Callbacks and
        TensorBoard get all metrics; `words` are written as one line, with the time. Of
        lines that follow each other fast, some are left out. `each` has the metrics by
        run, for callbacks, where several runs go together.
        """
        if phase != self._phase:
            self._open(phase, step, steps)
        now = time.monotonic()
        if words and (now - self._written >= PAUSE or step == steps):
            self._written = now
            self.line(
                "  ".join([f"{phase} {words[0]}", *words[1:], *self._time(step, steps)])
            )
        about = {} if self.seed is None else {"seed": self.seed}
        for own in each or [metrics] * bool(metrics):
            for callback in self.callbacks:
                callback(phase, step, {**own, **about})
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step)
            if now - self._shown > REFRESH_SECONDS or step == steps:
                self._shown = now
                self._bar.refresh()
        if self._writer is not None:
            for name, value in metrics.items():
                if value is not None:
                    self._writer.add_scalar(name, value, step)

    def _open(self, phase: str, step: int, steps: int) -> None:
        self.close()
        self._phase = phase
        self._begun = step, time.monotonic()
        if self._console is not None:
            from rich import progress

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeElapsedColumn(),
                progress.TimeRemainingColumn(),
                console=self._console,
                auto_refresh=False,  # no thread
            )
            self._bar.add_task(phase, total=steps, completed=step)
            self._bar.start()
        if self._tensorboard is not None:
            try:
                from tensorboardX import SummaryWriter
            except ImportError:
                return
            own = "" if self.seed is None else f"seed_{self.seed}"
            folder = self._tensorboard / own / phase
            with writing(folder):
                # Drops events that a killed run wrote after its last checkpoint.
                purge = step + 1 if step else None
                self._writer = SummaryWriter(str(folder), purge_step=purge)

    def _time(self, step: int, steps: int) -> list[str]:
        """The time of this start of the phase and the time left; a bar shows both."""
        first, begun = self._begun
        if self._bar is not None or step <= first:
            return []
        spent = time.monotonic() - begun
        left = spent / (step - first) * (steps - step)
        ahead = f", {duration(left)} left" if step < steps else ""
        return [f"{duration(spent)}{ahead}"]

    def close(self) -> None:
        """Ends the bar and the event file; `update` opens them again."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self._phase = None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def duration(seconds: float) -> str:
    """
    >>> duration(65), duration(3665)
    ('1:05', '1:01:05')
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{seconds:02d}"
    return f"{minutes}:{seconds:02d}"
