"""The pictures of the studies, drawn from the contents of their JSON files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nasjax.plots.style import COLOURS, clean, new_figure, save

_NAMES = (
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "max_pool_3x3",
    "none",
)
BLUE, SKY, GREEN, ORANGE, PINK, GREY = (COLOURS[name] for name in _NAMES)
METHODS = {
    "DARTS 1st": ORANGE,
    "DARTS 2nd": PINK,
    "RS": BLUE,
    "MGS": GREEN,
    "GLD": SKY,
}


def landscape(report: Mapping[str, Any], path: Path) -> None:
    """Draws a panel for every M: loss above the panel's minimum, and paths.

    All panels have the same contour levels. Each path of DARTS is on the panel whose
    loss it descends; the last panel has all paths.
    """
    panels = report["panels"]
    figure = new_figure((3.5 * len(panels) + 0.8, 4.1), layout="constrained")
    grid = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    axis, extent = np.asarray(report["axis"]), report["extent"]
    top = max(panel["spread"] for panel in panels)
    levels = np.linspace(0, top, 21)
    own = {0: ["DARTS 1st"], 1: ["DARTS 2nd"]}
    filled: Any = None
    lines: dict[str, Any] = {}
    for axes, panel in zip(grid, panels, strict=True):
        above = (np.asarray(panel["losses"]) - panel["minimum"]).T
        filled = axes.contourf(axis, axis, above, levels, cmap="Greys", vmax=1.6 * top)
        axes.contour(axis, axis, above, levels, colors="#888888", linewidths=0.5)
        last = panel is panels[-1]
        for found in report["paths"]:
            name = found["method"]
            if not last and name not in own[panel["inner_steps"]]:
                continue
            x, y = np.asarray(found["places"]).T
            lines[name] = axes.plot(x, y, "o-", color=METHODS[name], lw=1.6, ms=3)[0]
        axes.plot(0, 0, "+", color="black", ms=9, mew=1.5)
        star = axes.plot(
            *panel["place"], "*", color="#C00000", ms=13, mec="white", clip_on=False,
            zorder=5,
        )[0]  # fmt: skip
        lines.setdefault("least loss of the grid", star)
        axes.set(
            xlim=(-extent, extent),
            ylim=(-extent, extent),
            aspect="equal",
            xlabel="first direction",
            title=f"M = {panel['inner_steps']}: loss {panel['minimum']:.4g} and more",
        )
        axes.title.set_size(10)
    grid[0].set_ylabel("second direction")
    bar = figure.colorbar(
        filled, ax=list(grid), shrink=0.8, pad=0.01, ticks=levels[::5], format="%.2g"
    )
    bar.set_label("loss above the panel's least")
    names = sorted(lines, key=lambda name: [*METHODS, name].index(name))
    figure.legend(
        [lines[name] for name in names],
        names,
        loc="outside lower center",
        ncols=len(names),
        fontsize=9,
    )
    save(figure, path)


def condition(report: Mapping[str, Any], path: Path) -> None:
    """Draws the ratio of every direction, for every M; the largest ratio is Q."""
    figure = new_figure((5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    names = []
    for row, panel in enumerate(report["panels"]):
        ratios = np.sort(panel["ratios"])
        # The sideways offset has no meaning; it keeps the points apart.
        aside = 0.3 * ((np.arange(len(ratios)) * 0.618) % 1 - 0.5)
        axes.plot(row + aside, ratios, "o", color=SKY, ms=4, mec="none")
        axes.plot(row, ratios[-1], "_", color=ORANGE, ms=40, mew=2)
        text = f"Q = {ratios[-1]:.3g}"
        axes.annotate(
            text, (row, ratios[-1]), (0, 6), textcoords="offset points", ha="center",
            color=ORANGE,
        )  # fmt: skip
        names.append(f"M = {panel['inner_steps']}\nloss {panel['loss']:.4g}")
    axes.set_xticks(range(len(names)), names)
    axes.set_ylabel("relative change of the loss\nover relative change of α")
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_ylim(0, 1.18 * max(max(panel["ratios"]) for panel in report["panels"]))
    clean(axes)
    save(figure, path)


def importance(report: Mapping[str, Any], path: Path) -> None:
    """Draws candidates by loss and log q (left) and their sorted weights (right)."""
    figure = new_figure((10.6, 3.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    log_q = np.asarray(report["log_q"]) - np.max(report["log_q"])
    left.plot(log_q, report["losses"], "o", color=SKY, ms=5, mec="none")
    styles = {"likelihood": (GREEN, "^"), "importance": (ORANGE, "v")}
    shades = np.linspace(1, 0.35, len(report["weighed"]) // 2)
    marked: set[tuple[str, int]] = set()
    count = len(log_q)
    for index, each in enumerate(report["weighed"]):
        colour, mark = styles[each["weights"]]
        weights = np.asarray(each["report"]["weights"])
        heaviest = int(weights.argmax())
        if (each["weights"], heaviest) not in marked:
            left.plot(
                log_q[heaviest], report["losses"][heaviest], mark, color=colour, ms=10,
                mfc="none", mew=1.8,
                label=None
                if any(way == each["weights"] for way, _ in marked)
                else f"heaviest by {each['weights']}",
            )  # fmt: skip
            marked.add((each["weights"], heaviest))
        right.plot(
            np.arange(1, count + 1), np.sort(weights)[::-1], color=colour, lw=1.6,
            alpha=shades[index % len(shades)],
            label=f"{each['weights']}, τ = {each['temperature']:g}",
        )  # fmt: skip
    left.set(xlabel="log q, below the likeliest draw", ylabel="loss of the candidate")
    left.margins(y=0.2)  # room for the legend
    left.legend(fontsize=8)
    right.axhline(1 / count, color=GREY, lw=1, ls=":")
    right.set(xlabel="candidate, heaviest first", ylabel="weight", yscale="log")
    right.set_ylim(1e-6, 1.5)
    figure.legend(
        *right.get_legend_handles_labels(), loc="outside right center", fontsize=8
    )
    for axes in (left, right):
        clean(axes)
    save(figure, path)


def convergence(report: Mapping[str, Any], path: Path) -> None:
    """Draws test accuracy, with binomial standard error, and parameters by epoch."""
    figure = new_figure((8.4, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = report["epochs"]
    epochs = [row["epoch"] for row in rows]
    p = np.array([row["test_accuracy"] for row in rows])
    error = 100 * np.sqrt(p * (1 - p) / report["test_images"])
    left.errorbar(
        epochs, 100 * p, error, fmt="o-", color=BLUE, elinewidth=1, capsize=3,
        label="found by then",
    )  # fmt: skip
    if report["random_test_accuracy"] is not None:
        random = 100 * report["random_test_accuracy"]
        left.axhline(random, color=GREY, ls="--", lw=1.2, label="a random one")
        left.legend(fontsize=8)
    left.set(xlabel="epoch of the search", ylabel="test accuracy, %")
    parameters = [row["params"] / 1e3 for row in rows]
    right.plot(epochs, parameters, "o-", color=ORANGE)
    right.set(xlabel="epoch of the search", ylabel="parameters, thousands")
    for axes in (left, right):
        clean(axes)
        axes.xaxis.get_major_locator().set_params(integer=True)
    save(figure, path)
