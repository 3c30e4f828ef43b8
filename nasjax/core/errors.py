"""Errors that a user can fix: one sentence with the input and what to type instead."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator

_NAMES = re.compile(  # that are too long for a message
    r"""(?<![^\s([{=])(?P<quote>['"])(?P<text>(?:(?!(?P=quote)).){200,})(?P=quote)"""
    r"""|[^\s'"]{200,}(?<![.:,;)])"""
)


class UserError(Exception):
    """Bad input. The message is one complete sentence for the user.

    Python code gets the exception. `nasjax.main` and `nasjax.cli` print its message
    without a traceback and exit with code 2.
    """

    def __init__(self, message: object):
        super().__init__(plain(str(message)))


class MissingPackage(UserError, ModuleNotFoundError):
    """A package is not installed, which this part of nasjax needs."""


@contextlib.contextmanager
def needing(what: str) -> Iterator[None]:
    """Names the package that is missing, and how to install it.

    Args:
      what: the function or command that needs the packages.

    Raises:
      MissingPackage: a package cannot be found.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "nasjax") or isinstance(error, UserError):
            raise
        raise MissingPackage(
            f"{what} needs the package {package!r}, which is not installed; type "
            "`pip install nasjax`, without --no-deps, to install all packages it needs."
        ) from error


def plain(message: str) -> str:
    r"""A message in one line, in which a name of 200 characters and more is cut.

    >>> plain(f"There is no {'x' * 5000!r}, only a{chr(0)}b.")[-40:]
    "xxx... (5,000 characters)', only a\\x00b."
    """
    cut = _NAMES.sub(_cut, message)
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in cut)


def _cut(found: re.Match[str]) -> str:
    quote = found["quote"] or ""
    return f"{quote}{short(found['text'] or found[0])}{quote}"


def short(text: str) -> str:
    """The text; of a long text the beginning and the length.

    >>> short("x" * 5000)
    'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx... (5,000 characters)'
    """
    return text if len(text) < 200 else f"{text[:60]}... ({len(text):,} characters)"


def unregistered(kind: str, given: object, known: Iterable[str]) -> UserError:
    """`unknown`, for a table to which modules of the user may add."""
    hint = "If it is your own, give the file that registers it by --import=FILE.py."
    return UserError(f"{unknown(kind, given, known)} {hint}")


def unknown(
    kind: str,
    given: object,
    known: Iterable[str],
    listed: Iterable[str] = (),
    meant: Iterable[str] = (),
) -> UserError:
    """The error for a name that is not in a table, with the nearest names.

    Args:
      kind: what the name should name.
      given: the name.
      known: all names.
      listed: those of them that the message lists; none: all.
      meant: those that are suggested; none: the nearest in spelling.

    >>> print(unknown("primitive", "sep_conv", ["sep_conv_3x3", "none"]))
    Unknown primitive 'sep_conv'; did you mean 'sep_conv_3x3'? Known: none, sep_conv_3x3.
    """
    known = sorted(known)
    near = [*meant] or difflib.get_close_matches(str(given), known, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else "."
    shown = short(given) if isinstance(given, str) else given
    return UserError(
        f"Unknown {kind} {shown!r}{hint} Known: {', '.join(sorted(listed) or known)}."
    )
