"""Signals that end a run: remembered, so that a checkpoint can be written first."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Interrupted(Exception):
    """A signal stopped the run after its checkpoint was written.

    Attributes:
        phase, step: where it stopped.
        signum: the signal.
    """

    def __init__(self, phase: str, step: int, signum: int):
        super().__init__(
            f"{signal.Signals(signum).name} stopped the run in phase {phase} after "
            f"step {step}; a checkpoint is written, and the same command goes on "
            "from there."
        )
        self.phase, self.step, self.signum = phase, step, signum


class _Flag:
    """A signal handler that only remembers; a second Ctrl-C stops at once."""

    signum: int | None = None

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum


@contextlib.contextmanager
def signals() -> Iterator[_Flag]:
    """Catches SIGTERM and SIGINT for as long as it is entered.

    The value's `signum` is None until one came. Within another `signals()` it is the
    outer one, so that what came between two phases is seen by the next. Outside the
    main thread, where Python has no signals, nothing is installed.
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
