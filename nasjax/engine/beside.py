"""Background jobs of a run; the exit of the process does not wait for them."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NoReturn

from nasjax.engine.signals import watched

_NAME = "beside the run"


def beside(job: Callable[[], Any]) -> Future:
    """Starts a job in a new thread; `result()` raises the exception of the job."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(job())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=_NAME, daemon=True).start()
    return future


def leave(main: Callable[[], int]) -> NoReturn:
    """Runs a command and ends the process with its exit code, even while a job compiles.

    Such a job cannot be stopped. An ordinary exit would wait for it, or abort in the
    middle of it. So would an exit after a signal, for the compilation that it stopped.
    """
    with watched(command=True):
        code = main()
    if code > 128 or any(thread.name == _NAME for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
