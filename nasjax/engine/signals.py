"""Signals that end a run: they are recorded, and a checkpoint is written first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupted(Exception):
    """A signal stopped the run after its checkpoint was written.

    Attributes:
        phase, step: phase and step at which the run stopped.
        signum: number of the signal.
    """

    def __init__(self, phase: str, step: int, signum: int):
        super().__init__(
            f"{signal.Signals(signum).name} stopped the run in phase {phase} after "
            f"step {step}; a checkpoint was written, and the same command resumes "
            "from it."
        )
        self.phase, self.step, self.signum = phase, step, signum


class _Flag:
    """A signal handler that records the signal; a second Ctrl-C stops at once."""

    signum: int | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum


@contextlib.contextmanager
def signals() -> Iterator[_Flag]:
    """Catches SIGTERM and SIGINT within the context.

    `signum` of the yielded value is None until a signal arrives. A nested `signals()`
    yields the outer value: the next phase sees a signal that arrived between two
    phases. Outside the main thread, where Python delivers no signals, nothing is
    installed.
    """
    flag = _Flag()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return
    outer = signal.getsignal(signal.SIGTERM)
    if isinstance(outer, _Flag):
        yield outer
        return
    caught = (signal.SIGTERM, signal.SIGINT)
    previous = {signum: signal.signal(signum, flag) for signum in caught}
    try:
        yield flag
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler or signal.SIG_DFL)
