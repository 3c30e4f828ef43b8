"""Signals that end a run: they are recorded, and a checkpoint is written first.

Python calls its handlers of signals in the main thread, after the C code that runs
there. XLA compiles for minutes in such code. So a thread answers a signal at once, and
ends the process where waiting would save nothing.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType

COMPILATION = "the compilation that runs"
STEP = "the step that runs"
GRACE = 20.0  # seconds from SIGTERM to the end; Slurm and Kubernetes kill after 30
RESUME = "the same command resumes from the last checkpoint"


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
    """A signal handler that records the signal; a second Ctrl-C stops at once.

    Attributes:
        signum: None until a signal arrives.
        command: the command that resumes.
    """

    signum: int | None = None

    def __init__(self, command: str | None = None):
        self.command = command

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        # While C code runs, Python merges signals of a kind; the watch has them all.
        again = self.signum is not None or (_watch and len(_watch.seen) > 1)
        if again and signum == signal.SIGINT and not (_watch and _watch.command):
            raise KeyboardInterrupt
        self.signum = signum


class _Watch:
    """The thread that answers signals, whatever the main thread does.

    Attributes:
        command: True if it may end the process. In a program or a notebook of the user
            it may not; there exceptions are raised when the C code returns.
        doing: what the main thread does, in words.
        seen: signals that arrived within `signals`.
    """

    def __init__(self, command: bool):
        self.command, self.doing = command, "what runs now"
        self.seen: list[int] = []
        self._ends: float | None = None  # a time
        self._from, self._to = socket.socketpair()
        self._to.setblocking(False)  # Python writes the numbers of signals to it
        self._before = signal.set_wakeup_fd(
            self._to.fileno(), warn_on_full_buffer=False
        )
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed by its owner
            signal.set_wakeup_fd(self._before)
        self._to.close()
        self._thread.join(1.0)
        self._from.close()

    def drop(self) -> None:
        """For a forked child, whose signals are not for the thread of its parent."""
        signal.set_wakeup_fd(-1)
        self._before = -1
        # The parent's thread ends when no process holds the other end.
        self._to.close()
        self._from.close()

    def _run(self) -> None:
        while True:
            self._from.settimeout(0.1 if self._ends else None)
            try:
                received = self._from.recv(64)
            except TimeoutError:
                self._end_if_due()
                continue
            except OSError:
                return
            if not received:  # closed
                return
            if self._before >= 0:  # of an event loop, as in Jupyter
                with contextlib.suppress(OSError):
                    os.write(self._before, received)
            for signum in received:
                self._answer(signum)

    def _answer(self, signum: int) -> None:
        handler = signal.getsignal(signum)
        if isinstance(handler, _Flag):
            again, self.seen = bool(self.seen), [*self.seen, signum]
            if signum == signal.SIGTERM:
                limit = ""
                if self.command:
                    self._ends = self._ends or time.monotonic() + GRACE
                    if self.doing != STEP:
                        limit = f", or in {GRACE:.0f} s without it"
                if not again:
                    _say(f"SIGTERM: stopping after {self.doing}{limit}.")
            elif again and self.command:
                _end(f"Stopped; {_resume(handler)}", 128 + signum)
            elif not again:
                second = "end now" if self.command else "stop without a checkpoint"
                _say(f"Stopping after {self.doing}; press Ctrl-C again to {second}.")
        elif handler is _left_to_watch:
            _end("Stopped.", 128 + signum)

    def _end_if_due(self) -> None:
        handler = signal.getsignal(signal.SIGTERM)
        due = self._ends and time.monotonic() > self._ends
        # A step is worth waiting for.
        if due and self.doing != STEP and isinstance(handler, _Flag):
            _end(f"SIGTERM ended the run; {_resume(handler)}", 128 + signal.SIGTERM)


def _in_child() -> None:
    """A forked child answers its own signals; its parent can terminate it."""
    global _watch
    if _watch is not None:
        _watch.drop()
        _watch = None
    for signum in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(signum)
        # The child shares the parent's Ctrl-C, which asks for a checkpoint first.
        flagged = isinstance(handler, _Flag) and signum == signal.SIGTERM
        if flagged or handler is _left_to_watch:
            signal.signal(signum, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_in_child)

_PLAIN = (signal.default_int_handler, signal.SIG_DFL)
_watch: _Watch | None = None


def _left_to_watch(signum: int, frame: FrameType | None) -> None:
    """The handler of Ctrl-C in a command: an exception could be lost in a callback."""


@contextlib.contextmanager
def watched(command: bool = False) -> Iterator[None]:
    """Signals within the context are answered at once; nested contexts add nothing.

    Args:
        command: True for the outermost call of a command, whose process signals end:
            the second Ctrl-C within `signals`, the first elsewhere, and SIGTERM if a
            compilation takes too long.
    """
    global _watch
    if _watch or not _in_main_thread():
        yield
        return
    watch, before = _Watch(command), None
    _watch = watch
    if command and signal.getsignal(signal.SIGINT) in _PLAIN:
        before = signal.signal(signal.SIGINT, _left_to_watch)
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
        watch.close()
        _watch = None


@contextlib.contextmanager
def doing(what: str) -> Iterator[None]:
    """Names what the main thread does within the context, for the answer to a signal."""
    if _watch is None or not _in_main_thread():
        yield
        return
    watch, before = _watch, _watch.doing
    watch.doing = what
    try:
        yield
    finally:
        watch.doing = before


@contextlib.contextmanager
def signals(command: str | None = None) -> Iterator[_Flag]:
    """Catches SIGTERM and SIGINT within the context.

    `signum` of the yielded value is None until a signal arrives. A nested `signals()`
    yields the outer value: the next phase sees a signal that arrived between two
    phases. Outside the main thread, where Python delivers no signals, nothing is
    installed.

    Args:
        command: the command that resumes, for messages.
    """
    flag = _Flag(command)
    if not _in_main_thread():
        yield flag
        return
    outer = signal.getsignal(signal.SIGTERM)
    if isinstance(outer, _Flag):
        yield outer
        return
    caught = (signal.SIGTERM, signal.SIGINT)
    with watched():
        previous = {signum: signal.signal(signum, flag) for signum in caught}
        try:
            yield flag
        finally:
            for signum, handler in previous.items():
                signal.signal(signum, handler or signal.SIG_DFL)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _resume(flag: _Flag) -> str:
    return f"{RESUME}:\n  {flag.command}" if flag.command else f"{RESUME}."


def _say(text: str) -> None:
    with contextlib.suppress(Exception):  # the terminal may be closed
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _end(text: str, code: int) -> None:
    """Ends the process, past all locks that the main thread may hold."""
    with contextlib.suppress(Exception):
        # No bar, and the cursor that it hid.
        clean = "\r\x1b[2K\x1b[?25h" if os.isatty(1) and os.isatty(2) else ""
        os.write(2, f"{clean}{text}\n".encode())
    os._exit(code)
