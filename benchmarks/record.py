"""What a part of `benchmarks.accelerator` found, on disk as soon as it is known."""

from __future__ import annotations

import contextlib
import json
import platform
import re
import time
import traceback
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

import nasjax

PACKAGES = (
    "jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "flax", "optax", "torch",
    "triton",
)  # fmt: skip
LINES = 12  # of a traceback


class Plan(NamedTuple):
    """What is to be done with every part.

    Attributes:
      folder: where the reports go.
      dry: at the smallest sizes; nothing that it measures means anything.
      command: as the reports state it.
      cifar: an .npz file of images, or None.
      table: of the accuracies of NAS-Bench-201, or None.
    """

    folder: Path
    dry: bool
    command: str
    cifar: Path | None = None
    table: Path | None = None


class Record:
    """The report of one part.

    Attributes:
      plan: what it is a part of.
      report: what is written.
    """

    def __init__(self, name: str, plan: Plan, until: float):
        """until: the time of `time.time()` at which the part must have ended."""
        self.name, self.plan, self._until = name, plan, until
        self.report: dict[str, Any] = {"part": name, "dry": plan.dry}
        self._file = plan.folder / f"{name}.json"

    @property
    def left(self) -> float:
        """Seconds that the part still has."""
        return self._until - time.time()

    def keep(self, line: str = "", **found: Any) -> None:
        """Writes what was found, and prints a line."""
        self.report |= found
        self._file.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._file.with_suffix(".part")  # whoever reads finds all or nothing
        scratch.write_text(json.dumps(self.report, indent=1) + "\n")
        scratch.replace(self._file)
        if line:
            print(f"{self.name}: {line}", flush=True)

    def goal(self, what: str, value: float, most: float) -> None:
        """Keeps a number that is wanted to be at most `most`, of several the largest;
        not of a dry run."""
        if self.plan.dry:
            return
        goals = self.report.get("goals", [])
        value = max([value, *(g["value"] for g in goals if g["what"] == what)])
        goals = [goal for goal in goals if goal["what"] != what]
        met = value <= most
        goals.append({"what": what, "value": value, "at_most": most, "met": met})
        verdict = "met" if met else "missed"
        self.keep(f"{what}: {value:.3g}, goal {most:g}: {verdict}", goals=goals)

    def failed(self, error: BaseException) -> None:
        """Keeps an error, without the paths of this machine."""
        stack = traceback.extract_tb(error.__traceback__)
        frames = [
            f"{Path(frame.filename).name}:{frame.lineno} {frame.name}: {frame.line}"
            for frame in stack[-LINES:]
        ]
        found = {"type": type(error).__name__, "message": without_paths(str(error))}
        last = (found["message"].strip() or "no message").splitlines()[-1]
        line = f"failed: {found['type']}: {last}"
        self.keep(line, error={**found, "traceback": frames})

    def resume(self) -> None:
        """Takes up what the file holds."""
        if self._file.exists():
            self.report = json.loads(self._file.read_text())


def header(command: str) -> dict[str, Any]:
    """Card, versions and command."""
    devices = jax.devices()
    card = {
        "kind": devices[0].device_kind,
        "platform": devices[0].platform,
        "count": len(devices),
        "driver": " ".join(devices[0].client.platform_version.split()),
    }
    return {"card": card, "versions": versions(), "command": command}


def versions() -> dict[str, str]:
    """Of Python, nasjax and what of `PACKAGES` is installed."""
    found = {"python": platform.python_version(), "nasjax": nasjax.__version__}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def without_paths(text: str, most: int = 4000) -> str:
    """The text with the name of every file alone, cut in the middle if it is long.

    >>> without_paths("no /home/me/.venv/lib/a.so: it is/was missing")
    'no a.so: it is/was missing'
    """
    text = re.sub(r"(?<![\w.])/(?:[\w.+@-]+/)+", "", text)
    if len(text) > most:
        text = f"{text[: most // 2]} [...] {text[-most // 2 :]}"
    return text
