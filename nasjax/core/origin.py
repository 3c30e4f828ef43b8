"""Where a run is computed: the commit of nasjax, and the processor."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
VECTORS = ("avx512f", "avx2", "avx", "asimd")  # widest first: the order of sums differs


def origin() -> dict[str, Any]:
    """ "commit", "dirty", "cpu" and "cores", for a manifest.

    commit: of the checkout that nasjax is imported from; None for an installed wheel.
    dirty: True if its package differs from the commit. cores: that this process may use.
    """
    commit = git("rev-parse", "HEAD")
    dirty = bool(git("status", "--porcelain", "--", "nasjax")) if commit else None
    return {"commit": commit, "dirty": dirty, "cpu": cpu(), "cores": cores()}


def described(manifest: Mapping[str, Any]) -> str:
    """Version, commit, processor and device of a manifest, in one line.

    >>> described({"commit": "0a1b2c3d4e5f", "dirty": True, "cpu": "M1", "cores": 8})
    'nasjax of commit 0a1b2c3d4e, changed; M1, 8 cores'
    """
    version = (manifest.get("versions") or {}).get("nasjax")
    code = f"nasjax {version}" if version else "nasjax"
    if manifest.get("commit"):
        changed = ", changed" if manifest.get("dirty") else ""
        code += f" of commit {manifest['commit'][:10]}{changed}"
    parts = [code]
    if manifest.get("cpu"):
        parts.append(f"{manifest['cpu']}, {manifest.get('cores')} cores")
    if manifest.get("device") not in (None, "cpu"):
        parts.append(f"{manifest.get('devices', 1)} x {manifest['device']}")
    return "; ".join(parts)


def git(*arguments: str) -> str | None:
    """What git says about the checkout; None without one, or without git."""
    if not (ROOT / ".git").exists():  # a virtual environment may lie in a foreign one
        return None
    # A hook of git sets GIT_DIR. A container often has another user than the checkout.
    own = {name: v for name, v in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-c", f"safe.directory={ROOT}", *arguments]
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=own, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def cpu() -> str:
    """The model of the processor, with its widest vector instructions if known."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.M)
    features = flags[1].split() if flags else []
    model = named[1].strip() if named else platform.processor() or platform.machine()
    return ", ".join([model, *[name for name in VECTORS if name in features][:1]])


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
