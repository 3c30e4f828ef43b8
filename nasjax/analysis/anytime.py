"""The progress of searches: accuracy and a sign of collapse over their cost."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nasjax.analysis.scores import Run, signal
from nasjax.plots.style import clean, new_figure, pretty, save
from nasjax.tasks.base import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Colours of lines, by Okabe and Ito without their yellow. Each round of colours has
# another dash.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
)  # fmt: skip
DASHES = ("-", "--", ":", "-.")
# Signs of a collapse, of preference: the first that is not 0 everywhere has a panel.
SIGNS = {
    "kept_skips": "share of skip connections kept",
    "parameter_free": "share of operators without parameters",
}
COST = "gradient_evaluations"
NAMES = {**SIGNS, COST: "evaluations of a batch's gradient"}
ERRORS = (0.9, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.08, 0.06, 0.05, 0.02)
CROWD = 4  # sets at most whose bands are drawn over each other
FAR = 10  # ratio of costs above which their axis is logarithmic


class Curve(NamedTuple):
    """A metric over the epochs that all seeds of a set have.

    Attributes:
      x: gradient evaluations or epochs, mean over the seeds [T].
      mean: mean over the seeds [T].
      low: smallest value over the seeds [T].
      high: largest value over the seeds [T].
    """

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def curve(own: Sequence[Run], name: str, x: str) -> Curve:
    """The curve of a set.

    Args:
      own: runs of the set.
      name: metric in metrics.jsonl, or one of `SIGNS`.
      x: `COST` or "epoch".
    """
    each = []
    for run in own:
        points = {}
        for line in run.lines:
            value = signal(line, name) if name in SIGNS else line.get(name)
            if value is not None and line.get(x) is not None:
                points[line["epoch"]] = (line[x], value)
        each.append(points)
    epochs = sorted(set.intersection(*map(set, each)))
    found = np.array([[points[e] for e in epochs] for points in each], float)
    found = found.reshape(len(each), len(epochs), 2)
    values = found[..., 1]
    return Curve(found[..., 0].mean(0), values.mean(0), values.min(0), values.max(0))


def panels(
    found: Mapping[str, Mapping[int, Run]], metrics: Sequence[str]
) -> tuple[str, dict[str, dict[str, Curve]]]:
    """The curves to draw.

    Args:
      found: set -> seed -> run.
      metrics: metrics of the comparison. Only true accuracies are known during a
        search; the supernet's validation accuracy replaces any other metric.

    Returns:
      `COST`, or "epoch" if some run did not log `COST`; panel -> set -> curve, without
      curves that have no points.
    """
    every = [run for own in found.values() for run in own.values()]
    own_metric = f"valid_{Metric.of(every[0].result).name}"
    names = [m if m.startswith("true_") else own_metric for m in metrics]
    logged = all(any(COST in line for line in run.lines) for run in every)
    x = COST if logged else "epoch"
    of = lambda name: {
        title: curve([*own.values()], name, x) for title, own in found.items()
    }
    signs = {sign: of(sign) for sign in SIGNS}
    grown = (s for s, own in signs.items() if any(c.high.any() for c in own.values()))
    sign = next(grown, next(iter(SIGNS)))
    made = {name: of(name) for name in dict.fromkeys(names)} | {sign: signs[sign]}
    return x, {
        name: {title: one for title, one in curves.items() if len(one.x)}
        for name, curves in made.items()
        if any(len(one.x) for one in curves.values())
    }


def draw(
    found: Mapping[str, Mapping[int, Run]],
    metrics: Sequence[str],
    path: str | os.PathLike[str],
) -> bool:
    """Draws means over seeds, one panel for each metric, and beside it where they ended.

    Bands reach from worst to best seed. Of more than `CROWD` sets, bands would hide
    each other; the bars of the panel beside show worst and best seed at the end.

    Equal steps on the axis of a true accuracy are equal ratios of errors: a cell that
    cannot learn leaves room to distinguish the others.

    Args:
      found, metrics: as for `panels`.
      path: picture to write; its ending sets the format: .png, .svg or .pdf.

    Returns:
      True if there was anything to draw.

    Raises:
      UserError: another ending, or the file cannot be written.
    """
    x, made = panels(found, metrics)
    if not made:
        return False
    width = 0.4 + 0.28 * len(found)
    figure = new_figure((10.5 + width, 3.1 * len(made) + 0.3), layout="constrained")
    both = figure.subplots(
        len(made), 2, sharex="col", sharey="row", squeeze=False,
        width_ratios=(7.0, width),
    )  # fmt: skip
    grid = both[:, 0]
    lines: dict[str, Any] = {}
    for (axes, ends), (name, curves) in zip(both, made.items(), strict=True):
        for index, title in enumerate(found):
            if title in curves:
                band = len(found) <= CROWD
                lines[title] = _line(axes, curves[title], index, band)
                _end(ends, curves[title], index)
        ends.set_xlim(-0.6, len(found) - 0.4)
        ends.tick_params(labelleft=False)
        ends.set_xticks([])
        clean(ends)
        known = NAMES.get(name) or f"supernet's validation {name[len('valid_') :]}"
        if name.startswith("true_"):
            known = f"true accuracy, {pretty(name[len('true_') :])}"
        axes.set_ylabel(known, size=9)
        axes.tick_params(labelsize=8)
        clean(axes)
        if name.startswith("true_"):
            _by_error(axes)
    both[0, 1].set_title("at the end", size=9)
    both[-1, 1].set_xlabel("mean, worst to best seed", size=8)
    costs = [one.x[-1] for curves in made.values() for one in curves.values()]
    if x == COST and max(costs) > FAR * min(costs):
        grid[-1].set_xscale("log")
    grid[-1].set_xlabel(NAMES.get(x, x), size=9)
    figure.legend(
        [lines[title] for title in found if title in lines],
        [textwrap.fill(title, 30) for title in found if title in lines],
        loc="outside right upper", fontsize=8, frameon=False, handlelength=3,
    )  # fmt: skip
    runs = [run for own in found.values() for run in own.values()]
    data = runs[0].result.get("dataset", "")
    about = f"{len(found)} searches, {len(runs)} runs" + (f" on {data}" if data else "")
    save(figure, path, about)
    return True


def _by_error(axes: Axes) -> None:
    """Scales accuracies by the logarithm of the error, from 10 % to 99.9 %."""
    low, high = axes.dataLim.y0 - 0.01, 1 - 0.9 * (1 - axes.dataLim.y1)
    error = lambda accuracy: np.clip(1 - accuracy, 1e-3, None)
    axes.set_yscale(
        "function",
        functions=(lambda y: -np.log10(error(y)), lambda z: 1 - 10.0**-z),
    )
    axes.set_ylim(max(low, 0), min(high, 0.999))
    shown = [1 - e for e in ERRORS if low <= 1 - e <= high]
    axes.set_yticks(shown, [f"{100 * each:.0f} %" for each in shown])


def _end(axes: Axes, one: Curve, index: int) -> None:
    colour = COLOURS[index % len(COLOURS)]
    axes.plot([index, index], [one.low[-1], one.high[-1]], color=colour, lw=2)
    axes.plot(index, one.mean[-1], "o", color=colour, ms=5)


def _line(axes: Axes, one: Curve, index: int, band: bool) -> Any:
    colour = COLOURS[index % len(COLOURS)]
    dash = DASHES[index // len(COLOURS) % len(DASHES)]
    if band:
        axes.fill_between(one.x, one.low, one.high, color=colour, alpha=0.08, lw=0)
    (line,) = axes.plot(one.x, one.mean, dash, color=colour, lw=1.5)
    axes.plot(one.x[-1], one.mean[-1], "o", color=colour, ms=4)  # where it ended
    return line
