"""A run's folder as text: its state, numbers and cells; and text tables."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Mapping
from typing import Any

from nasjax.core.origin import described
from nasjax.engine.workdir import RunFolder
from nasjax.experiment.line import words
from nasjax.experiment.outcome import Outcome
from nasjax.plots.genotypes import text
from nasjax.spaces.load import load
from nasjax.tasks.base import Metric


def show(workdir: str) -> str:
    """The state of a run: progress, result, cells.

    Raises:
      UserError: there is no run in that folder.
    """
    folder = RunFolder.read(workdir)
    path, manifest = folder.path, folder.manifest
    config = folder.read_outcome("config") or {}
    result = folder.read_outcome("result") or {}
    known, metric = {**config, **manifest, **result}, Metric.of(result)
    rows: dict[str, str] = {}
    for name in ("algorithm", "dataset", "classes", "seed", "device", "command"):
        if name in known:
            rows[name] = _value(known[name])
    starts = manifest.get("started", [])
    origins = dict.fromkeys(described({**manifest, **start}) for start in starts)
    if origins:
        rows["origin"] = ", then ".join(origins)  # starts on other machines differ
    rows["started"] = "once" if len(starts) == 1 else f"{len(starts)} times"
    for line in folder.metrics():
        if "phase" in line and "step" in line:
            # The last line of a phase stays.
            rows[line["phase"]] = _progress(line, metric)
    scores = [name for name in result if name.startswith(("reweighted_", "supernet_"))]
    if tested := Outcome.of(result).text():
        rows["test"] = tested.replace("\n", ". ")
    counts = ("params", "params_training", "macs")
    for name in (*scores, "true_accuracy", *counts, "seconds"):
        if result.get(name) is not None:
            rows[name.replace("_", " ")] = _value(result[name])
        if name == "true_accuracy":
            for reading, own in (result.get("readings") or {}).items():
                if own["genotype"] != result["genotype"] and own["true_accuracy"]:
                    words = f"read {reading.replace('_', ' ')}"
                    rows[words] = _value(own["true_accuracy"])
    parts = [table(f"{workdir}: {_state(folder)}", rows)]
    if (path / "genotype.json").exists():
        parts.append(text(load(path)))
    return "\n\n".join(parts)


def _state(folder: Any) -> str:
    if folder.finished:
        return "finished"
    age = time.time() - max(file.stat().st_mtime for file in folder.path.iterdir())
    return (
        f"not finished, last written {age:.0f} s ago; "
        "the command that started it resumes it"
    )


def _progress(line: Mapping[str, Any], metric: Metric) -> str:
    epoch = f" (epoch {line['epoch']})" if "epoch" in line else ""
    return f"step {line['step']}{epoch}: {', '.join(words(line, metric))}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_value(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(_value, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if type(value) is int else str(value)


def table(title: str, rows: Mapping[str, Any]) -> str:
    """A title and indented rows, each with the first line of its value."""
    width = max(map(len, rows), default=0)
    lines = [title]
    for name, value in rows.items():
        first = str("" if value is None else value).strip().split("\n")[0]
        lines.append(wrap(first, f"  {name:<{width}}  "))
    return "\n".join(lines)


def wrap(text: str, start: str) -> str:
    indent = " " * len(start)
    lines = textwrap.wrap(text, 88, initial_indent=start, subsequent_indent=indent)
    return "\n".join(lines) or start.rstrip()
