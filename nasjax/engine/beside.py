"""Jobs beside the run, which no exit waits for."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

_NAME = "beside the run"


def beside(job: Callable[[], Any]) -> Future:
    """Starts a job in a thread of its own; what it raises is raised by `result()`."""
    future: Future = Future()

    def run() -> None:
        try:
            future.set_result(job())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name=_NAME, daemon=True).start()
    return future


def leave(code: int) -> None:
    """Ends the process, though a job may still compile.

    It cannot be stopped; Python would wait for it, or end in the middle of it with an
    abort.
    """
    if any(thread.name == _NAME for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
