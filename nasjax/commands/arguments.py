"""Types of arguments that several commands share."""

from __future__ import annotations

import argparse

GENOTYPE = (
    "a published name (see `nasjax list`), a JSON file, a run folder, or a string of "
    "NAS-Bench-201"
)


def positive(text: str) -> int:
    """A positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"give a positive integer, not {text!r}")
    return int(text)


def natural(text: str) -> int:
    """An integer of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"give an integer of at least 0, not {text!r}")
    return int(text)
