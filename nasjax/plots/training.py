"""Losses and the metric of a run: of the search, and of all retrainings on one scale."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nasjax.core.errors import UserError
from nasjax.plots.style import LINES, OTHERS, clean, new_figure, pretty, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WEIGHTS, ARCH = "weights' part", "architecture part"
NAMES = {  # {}: the loss or the metric
    "{}": f"{WEIGHTS}, a batch",
    "val_{}": f"{ARCH}, a batch",
    "valid_{}": f"{ARCH}, all of it (validation)",
    "mixed_{}": f"{ARCH}, supernet before discretising",
    "discretised_{}": f"{ARCH}, supernet discretised",
}
GROUPS = {  # of phases that train a network from scratch: name, colour
    "retrain": ("found", "#0072B2"),
    "random": ("random cells", "#777777"),
    "reweighted": ("found, reweighted images", "#D55E00"),
}
COLOURS = (*LINES, *OTHERS)
FAR = 30  # ratio of losses above which their axis is logarithmic

Points = list[tuple[float, float]]
Panel = dict[str, dict[str, Points]]  # phase -> name in the log -> points


def group(phase: str) -> str:
    """The phase without the number of its repetition.

    >>> [group(name) for name in ("search_1", "random_2", "retrain_random", "retrain")]
    ['search', 'random', 'random', 'retrain']
    """
    bare = re.sub(r"_\d+$", "", phase)
    return "random" if bare == "retrain_random" else bare


def plot_curves(
    lines: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    metric: str = "accuracy",
    tests: Mapping[str, float] | None = None,
    footer: str = "",
) -> None:
    """Plots losses and a metric over the steps.

    The search has a row, and so has each earlier stage. All networks that are trained
    from scratch share a row and its axes.

    Args:
      lines: the objects of `metrics.jsonl`: "phase", "step" and numbers; every
        number with "loss" or the metric in its name is drawn.
      path: the picture to write; its suffix is the format: .png, .svg or .pdf.
      metric: drawn beside the losses.
      tests: phase -> test value of the metric.
      footer: a line below the picture.

    Raises:
      UserError: there is nothing to draw, the suffix is another one, or the file cannot
        be written.
    """
    made: dict[tuple[str, str], Panel] = {}
    for line in lines:
        row = group(line["phase"])
        row = "retraining" if row in GROUPS else row
        for key, value in line.items():
            kind = next((k for k in ("loss", metric) if k in key), None)
            if key.startswith("eigenvalue"):  # its error is no error of a network
                continue
            if kind is not None and isinstance(value, int | float):
                own = made.setdefault((row, kind), {}).setdefault(line["phase"], {})
                own.setdefault(key, []).append((line["step"], value))
    if not made:
        raise UserError(
            f"There is no loss or {metric} to draw; let the run log a step."
        )
    rows = list(dict.fromkeys(row for row, _ in made))
    kinds = sorted({kind for _, kind in made}, reverse=True)
    if metric in kinds and "loss" in kinds:
        kinds = ["loss", metric]
    size = (5.4 * len(kinds), 3.4 * len(rows))
    figure = new_figure(size, layout="constrained")
    grid = figure.subplots(len(rows), len(kinds), squeeze=False)
    for beside, row in zip(grid, rows, strict=True):
        for axes, kind in zip(beside, kinds, strict=True):
            panel = made.get((row, kind), {})
            axes.set_visible(bool(panel))
            if not panel:
                continue
            if row == "retraining":
                _retraining(axes, panel, (tests or {}) if kind == metric else {})
            else:
                _search(axes, panel, kind)
            _finish(axes, row, kind, panel)
    save(figure, path, footer)


def _search(axes: Axes, panel: Panel, kind: str) -> None:
    """Curves of a search; those of rolled back epochs are pale."""
    names = list(dict.fromkeys(key for own in panel.values() for key in own))
    known = {pattern.format(kind): name for pattern, name in NAMES.items()}
    names.sort(key=lambda key: [*known, key].index(key))
    for phase, own in panel.items():
        last = phase == list(panel)[-1]
        for key in names:
            if key in own:
                index = [*known, *(n for n in names if n not in known)].index(key)
                label = known.get(key, pretty(key)) if last else None
                _line(axes, own[key], COLOURS[index % 8], label, 1.0 if last else 0.3)


def _retraining(axes: Axes, panel: Panel, tests: Mapping[str, float]) -> None:
    """Training curves of each group in its colour, and test values at the right end."""
    ends = max(
        x for own in panel.values() for points in own.values() for x, _ in points
    )
    place = {phase: 1.03 + 0.025 * index for index, phase in enumerate(tests)}
    for name, (title, colour) in reversed(GROUPS.items()):
        label: str | None = f"{title}, training batches"
        for phase, own in panel.items():
            if group(phase) == name:
                for points in own.values():
                    _line(axes, points, colour, label, 0.8, "")
                    label = None
        label = f"{title}, test"
        for phase, value in tests.items():
            if group(phase) == name:
                spot: dict[str, Any] = {
                    "ms": 7,
                    "mec": "white",
                    "color": colour,
                    "zorder": 4,
                }
                x = place[phase] * ends
                axes.plot(x, value, "D", label=label, clip_on=False, **spot)
                axes.axhline(value, color=colour, lw=0.8, ls=":", zorder=1)
                label = None


def _line(
    axes: Axes, points: Points, colour: str, label: str | None, alpha: float,
    mark: str = "o",
) -> None:  # fmt: skip
    mark = mark if len(points) < 30 else ""
    style: dict[str, Any] = {"color": colour, "alpha": alpha, "lw": 1.3, "ms": 3}
    axes.plot(*np.array(points).T, marker=mark or None, label=label, **style)


def _finish(axes: Axes, row: str, kind: str, panel: Panel) -> None:
    values = [
        value
        for own in panel.values()
        for points in own.values()
        for _, value in points
    ]
    if kind == "loss" and min(values) > 0 and max(values) > FAR * min(values):
        axes.set_yscale("log")
    axes.set(xlabel="step", ylabel=kind)
    axes.set_title(f"{row}: {kind}", size=10, loc="left")
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize=8,
        frameon=False,
    )  # fmt: skip
    clean(axes)
