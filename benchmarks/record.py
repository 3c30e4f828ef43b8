"""The results of a part of `benchmarks.accelerator`, written as soon as known."""

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
LINES = 12  # kept of a traceback


class Plan(NamedTuple):
    """The options of every part.

    Attributes:
      folder: folder for the reports.
      dry: use the smallest sizes; the measurements have no meaning.
      command: command line to state in the reports.
      cifar: .npz file of images, or None.
    """

    folder: Path
    dry: bool
    command: str
    cifar: Path | None = None


class Record:
    """The report of one part.

    Attributes:
      plan: options of the benchmark.
      report: content of the file.
    """

    def __init__(self, name: str, plan: Plan, until: float):
        """until: value of `time.time()` at which the part must have ended."""
        self.name, self.plan, self._until = name, plan, until
        self.report: dict[str, Any] = {"part": name, "dry": plan.dry}
        self._file = plan.folder / f"{name}.json"

    @property
    def left(self) -> float:
        """Seconds left for the part."""
        return self._until - time.time()

    def keep(self, line: str = "", **found: Any) -> None:
        """Writes the results, and prints a line."""
        self.report |= found
        self._file.parent.mkdir(parents=True, exist_ok=True)
        scratch = self._file.with_suffix(".part")  # a reader finds all or nothing
        scratch.write_text(json.dumps(self.report, indent=1) + "\n")
        scratch.replace(self._file)
        if line:
            print(f"{self.name}: {line}", flush=True)

    def goal(self, what: str, value: float, most: float) -> None:
        """Keeps a number whose goal is at most `most`, and of several the largest.

        A dry run keeps none.
        """
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
        """Reads the report from the file."""
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
    """Versions of Python, nasjax and the installed ones of `PACKAGES`."""
    found = {"python": platform.python_version(), "nasjax": nasjax.__version__}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def without_paths(text: str, most: int = 4000) -> str:
    """The text without folders of files, cut in the middle if it is long.

    >>> without_paths("no /home/me/.venv/lib/a.so: it is/was missing")
    'no a.so: it is/was missing'
    """
    text = re.sub(r"(?<![\w.])/(?:[\w.+@-]+/)+", "", text)
    if len(text) > most:
        text = f"{text[: most // 2]} [...] {text[-most // 2 :]}"
    return text
