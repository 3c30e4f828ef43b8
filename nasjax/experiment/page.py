"""The report of a run: one HTML file with its pictures, that loads nothing else."""

from __future__ import annotations

import base64
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from nasjax.collapse import verdict
from nasjax.core.files import write_text
from nasjax.experiment import pictures
from nasjax.experiment.outcome import Outcome, interval
from nasjax.experiment.recorded import Recorded
from nasjax.monitors.alpha import base_rate
from nasjax.plots.genotypes import text
from nasjax.plots.style import TITLES, pretty
from nasjax.spaces import CellSpace
from nasjax.spaces.genotype import Genotype

Rows = list[tuple[str, str]]

COUNTS = {
    "params": "parameters of the network",
    "params_training": "parameters in training, with the auxiliary head",
    "macs": "multiply-adds for one example",
    "gradient_evaluations": "gradients of a batch in the search",
}
SECONDS = {"compile": "compiling", "search": "searching", "retrain": "retraining"}


def write(run: Recorded, path: Path, drawn: Iterable[Path]) -> None:
    """Writes the report.

    Args:
      run: the run.
      path: the HTML file to write.
      drawn: pictures of `pictures.draw`, which are embedded.

    Raises:
      UserError: the file cannot be written.
    """
    from jinja2 import Environment, StrictUndefined

    outcome = Outcome.of(run.result)
    source = files("nasjax.experiment").joinpath("page.html.j2").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(source).render(
        name=run.name,
        finished=run.finished,
        about=_about(run),
        summary=outcome.text().splitlines(),
        metric=outcome.metric.name,
        tests=_tests(outcome),
        share=outcome.share(),
        alphas=_alphas(run.space),
        images={one.stem: _embedded(one) for one in drawn},
        cells=text(run.genotype) if run.genotype else "",
        operations=_operations(run.genotype) if run.genotype else [],
        verdict=_verdict(run),
        cost=_cost(run.result),
        commands=_commands(run),
        config=json.dumps(run.config, indent=1, default=str),
    )
    write_text(path, page)


def _verdict(run: Recorded) -> verdict.Verdict | None:
    """The verdict on collapse; None before a search has ended an epoch."""
    lines = verdict.followed(run.lines)
    if not any("valid_loss" in line for line in lines):
        return None
    space = pictures.searched(run.space, lines)
    epochs = run.config["search"]["epochs"]
    return verdict.verdict(lines, epochs, base_rate(space), space)


def _about(run: Recorded) -> Rows:
    manifest = run.manifest
    known = {**run.config, **manifest, **run.result}
    rows = []
    for field in ("algorithm", "dataset", "seed", "split_seed", "device", "devices"):
        if known.get(field) is not None:
            rows.append((field.replace("_", " "), str(known[field])))
    classes = known.get("classes")
    if isinstance(classes, list | tuple):
        rows.append(("classes", ", ".join(map(str, classes))))
    versions = manifest.get("versions") or {}
    if versions:
        own = {**versions, "python": manifest.get("python", "?")}
        rows.append(("versions", ", ".join(f"{k} {v}" for k, v in own.items())))
    for field in ("commit", "cpu"):
        if isinstance(manifest.get(field), str):
            changed = field == "commit" and manifest.get("dirty")
            rows.append((field, manifest[field] + (", changed" if changed else "")))
    started = manifest.get("started") or []
    if started:
        rows.append(("started", str(started[0].get("time", ""))))
    if known.get("interrupted"):
        rows.append(("interrupted", f"{known['interrupted']} times"))
    return rows


def _tests(outcome: Outcome) -> list[tuple[str, str, str]]:
    """(network, value, interval of 95 %) of each test."""
    named = [
        (f"found, training {i + 1}", v) if len(outcome.found) > 1 else ("found", v)
        for i, v in enumerate(outcome.found)
    ]
    named += [(f"random cell {i + 1}", v) for i, v in enumerate(outcome.random)]
    rows = []
    for name, value in named:
        around = ""
        if outcome.metric.name == "accuracy" and outcome.examples:
            low, high = interval(value, outcome.examples)
            around = f"{low:.2%} to {high:.2%}"
        rows.append((name, outcome.metric.text(value), around))
    return rows


def _alphas(space: CellSpace) -> str:
    """What alpha is, and which cells share one."""
    which = "Every cell has an alpha of its own."
    if len(space.types) == 1:
        which = "All cells share one alpha."
    elif set(space.types) == {"normal", "reduce"}:
        which = (
            "All normal cells share one alpha; all reduction cells, which halve the "
            "height and width of the maps, share another."
        )
    return f"Alpha holds a number for each operation of each edge. {which}"


def _operations(genotype: Genotype) -> list[tuple[str, list[tuple[str, int]]]]:
    """(cell type, its operations with their number), the most frequent first."""
    return [
        (
            TITLES.get(kind, pretty(kind)),
            [(pretty(n), c) for n, c in Counter(op for op, _ in own).most_common()],
        )
        for kind, own in genotype.cells.items()
    ]


def _cost(result: Mapping[str, Any]) -> Rows:
    rows = []
    for field, words in COUNTS.items():
        if result.get(field) is not None:
            rows.append((words, f"{result[field]:,.0f}"))
    for field, words in SECONDS.items():
        if (result.get("seconds") or {}).get(field) is not None:
            rows.append((words, f"{result['seconds'][field]:,.0f} s"))
    return rows


def _commands(run: Recorded) -> list[str]:
    """The command that made the run, and commands that look at it."""
    given, folder = run.manifest.get("command"), shlex.quote(str(run.path))
    own = [given] if given else ["# started from Python, by nasjax.run"]
    return [*own, f"nasjax show {folder}", f"nasjax stability {folder}"]


def _embedded(path: Path) -> tuple[str, int]:
    """A PNG as a data URL, and the width in pixels at which its labels are readable."""
    data = path.read_bytes()
    width = int.from_bytes(data[16:20], "big")  # the first field of a PNG's header
    return f"data:image/png;base64,{base64.b64encode(data).decode()}", width // 2
