"""Messages of dependencies: they do not end a command, and most are not shown."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import warnings
from typing import Any

OURS = r"(nasjax\b|__main__$)"  # modules
# A dependency attributes these to the module that calls it, which may be ours.
THEIRS = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)


def as_module() -> None:
    """`tame` if the module of `python -m` is of nasjax, not one that imports nasjax."""
    words = (word.removeprefix("-m") for word in sys.orig_argv)
    if any(word.startswith("nasjax.") for word in words):
        tame()


def tame() -> None:
    """For the process of a command; call it before JAX is imported."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # Ctrl-C during imports: no traceback
    # XLA's alarms about slow compilations are of level 2. Failures are exceptions.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # JAX warns of an unused GPU, which `report.opening` names in a sentence; Matplotlib
    # of the cache that it makes when it is first used.
    for name in ("jax._src.xla_bridge", "matplotlib.font_manager"):
        logging.getLogger(name).setLevel(logging.ERROR)
    mild()


def mild() -> None:
    """Warnings that would be errors are printed; those of nasjax itself stay errors.

    This holds whatever -W or PYTHONWARNINGS say.
    """
    rules: list[Any] = list(warnings.filters)
    if all(action != "error" for action, *_ in rules):
        return
    warnings.resetwarnings()
    for action, message, category, module, line in reversed(rules):  # the first wins
        words, place = _pattern(message), _pattern(module)
        if action != "error":
            warnings.filterwarnings(action, words, category, place, line)
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
