"""The outermost call of a command: errors become messages and exit codes."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from nasjax.core.errors import UserError, plain, short
from nasjax.core.imports import imported
from nasjax.engine.signals import Interrupted

Main = Callable[[Sequence[str]], int]


class Parser(argparse.ArgumentParser):
    """A parser whose errors cut names that are too long for a message."""

    def error(self, message: str) -> NoReturn:
        super().error(plain(message))


def execute(name: str, main: Main, argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code.

    Args:
      name: the command as it is typed, for messages: "nasjax count".
      main: arguments after the name -> exit code.
      argv: the arguments; None for `sys.argv[1:]`. The modules of --import are imported
        first, and `main` gets the arguments without them.

    Returns:
      the exit code of `main`; 2 after the message of a `UserError`, or of an `OSError`
      with a file's name, was printed to stderr; 128 + the number of a signal; 0 if the
      reader of the output has closed the pipe, as `head` does.

    Raises:
      SystemExit: 2 for arguments that do not parse, 0 for --help.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # it may lack line drawing
        sys.stdout.reconfigure(errors="replace")
    try:
        with imported(sys.argv[1:] if argv is None else argv) as rest:
            code = main(rest)
        sys.stdout.flush()
        return code
    except UserError as error:
        return _say(f"{name}: {error}", 2)
    except Interrupted as stop:
        return _say(f"{name}: {stop}", 128 + stop.signum)
    except KeyboardInterrupt:
        return _say(f"{name}: stopped.", 130)
    except BrokenPipeError:
        # The interpreter flushes standard output at its end, which would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        return _say(
            f"{name}: {short(str(error.filename))!r} cannot be used "
            f"({error.strerror}); give another file or folder.",
            2,
        )


def _say(message: str, code: int) -> int:
    sys.stderr.write(message + "\n")
    return code
