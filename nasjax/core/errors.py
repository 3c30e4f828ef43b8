"""Errors that a user can fix: one sentence with the input and what to type instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The message is one complete sentence for the user.

    Python code gets the exception. `nasjax.main` and `nasjax.cli` print its message
    without a traceback and exit with code 2.
    """


def unregistered(kind: str, given: object, known: Iterable[str]) -> UserError:
    """`unknown`, for a table to which modules of the user may add."""
    hint = "If it is your own, give the file that registers it by --import=FILE.py."
    return UserError(f"{unknown(kind, given, known)} {hint}")


def unknown(kind: str, given: object, known: Iterable[str]) -> UserError:
    """The error for a name that is not in a table, with the nearest names.

    >>> print(unknown("primitive", "sep_conv", ["sep_conv_3x3", "none"]))
    Unknown primitive 'sep_conv'; did you mean 'sep_conv_3x3'? Known: none, sep_conv_3x3.
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(given), known, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    return UserError(f"Unknown {kind} {given!r}{hint} Known: {', '.join(known)}.")
