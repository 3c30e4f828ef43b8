"""Warnings of dependencies do not end a command, whatever -W or PYTHONWARNINGS say."""

from __future__ import annotations

import re
import sys
import warnings

OURS = r"(nasjax\b|__main__$)"  # modules
# A dependency attributes these to the module that calls it, which may be ours.
THEIRS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


def as_module() -> None:
    """`mild` if the module of `python -m` is of nasjax, not one that imports nasjax."""
    words = (word.removeprefix("-m") for word in sys.orig_argv)
    if any(word.startswith("nasjax.") for word in words):
        mild()


def mild() -> None:
    """Warnings that would be errors are printed; those of nasjax itself stay errors."""
    rules = list(warnings.filters)
    if all(action != "error" for action, *_ in rules):
        return
    warnings.resetwarnings()
    for action, message, category, module, line in reversed(rules):  # the first wins
        words, place = _pattern(message), _pattern(module)
        if action != "error":
            warnings.filterwarnings(action, words, category, place, line)  # type: ignore
            continue
        warnings.filterwarnings("default", words, category, place, line)
        if not place and not issubclass(category, THEIRS):
            warnings.filterwarnings("error", words, category, OURS, line)
            for kind in filter(lambda kind: issubclass(kind, category), THEIRS):
                warnings.filterwarnings("default", words, kind, OURS, line)


def _pattern(rule: re.Pattern[str] | str | None) -> str:
    if isinstance(rule, re.Pattern):
        return rule.pattern
    return rf"{re.escape(rule)}\Z" if rule else ""
