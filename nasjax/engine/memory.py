"""The memory that compiled programs need, and the memory of devices."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from nasjax.core.errors import UserError


class TooLarge(UserError):
    """A program does not fit.

    Attributes:
      share: the memory that there is, in times of the memory that is needed.
    """

    share: float = 0.0


def needed(program: Any) -> int:
    """Bytes of a compiled program on one device: arguments, results, temporaries."""
    plan = program.memory_analysis()
    if plan is None:  # not every backend has it
        return 0
    kept = plan.argument_size_in_bytes + plan.output_size_in_bytes
    return kept - plan.alias_size_in_bytes + plan.temp_size_in_bytes


def available(device: jax.Device) -> int | None:
    """Bytes of memory that a device has for this process; None if unknown."""
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    if device.platform != "cpu" or not hasattr(os, "sysconf"):
        return None
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
    limits = [total]
    for file in ("memory.max", "memory/memory.limit_in_bytes"):  # of a container
        path = Path("/sys/fs/cgroup") / file
        if path.exists() and (text := path.read_text().strip()).isdigit():
            limits.append(int(text))
    return min(limits)


def report(
    phase: str, planned: Mapping[str, int], where: Sequence[jax.Device], lower: str
) -> str:
    """A sentence on the memory of a phase's programs.

    Args:
      phase: name of the phase.
      planned: name of each program -> bytes that it needs on a device.
      where: the devices; CPU devices share one memory.
      lower: end of the error message, which names the settings to lower.

    Raises:
      TooLarge: the largest program needs more memory than a device has.
    """
    shared = len(where) if where[0].platform == "cpu" else 1
    sizes = {name: shared * size for name, size in planned.items()}
    largest = max(sizes, key=sizes.__getitem__)
    there = available(where[0])
    if there is not None and sizes[largest] > there:
        error = TooLarge(
            f"Phase {phase} does not fit: its {largest} step needs "
            f"{_gigabytes(sizes[largest])} of memory, but only "
            f"{_gigabytes(there)} is available; {lower}"
        )
        error.share = there / sizes[largest]
        raise error
    steps = ", ".join(f"{name} {_gigabytes(size)}" for name, size in sizes.items())
    beside = "" if there is None else f", of {_gigabytes(there)}"
    return f"memory of a step, as XLA plans it: {steps}{beside}"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
