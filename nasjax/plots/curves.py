"""Curves of a search over time, in panels. Each function writes one picture."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nasjax.core.errors import UserError
from nasjax.plots.style import (
    LINES,
    TITLES,
    clean,
    colour_of,
    new_figure,
    node_name,
    pretty,
    save,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_alpha(
    history: Mapping[str, np.ndarray],
    steps: np.ndarray,
    operations: Mapping[str, Sequence[Sequence[str]]],
    edges: Mapping[str, Sequence[tuple[int, int]]],
    path: str | os.PathLike[str],
) -> None:
    """Plots mixing weights over time: for each cell type, one panel for every edge.

    If there are more than two cell types, each has one panel with the mean over its
    edges.

    Args:
      history: cell type -> mixing weights [T, E, O].
      steps: search steps [T] of the weights.
      operations: cell type -> the O operations of each edge.
      edges: cell type -> its E edges as (source, node).
      path: the picture to write; its suffix is the format: .png, .svg or .pdf.

    Raises:
      UserError: the suffix is another one, or the file cannot be written.
    """
    if len(history) > 2:
        save(_means(history, steps, operations), path)
        return
    every = [edge for own in edges.values() for edge in own]
    nodes = sorted({node for _, node in every})
    columns = max(source for source, _ in every) + 1
    rows = len(nodes)
    size = (2.0 * columns, 1.45 * rows * len(history) + 0.2)
    figure = new_figure(size, layout="constrained")
    top = 1.05 * max(float(np.max(weights)) for weights in history.values())
    blocks = figure.subfigures(len(history), 1, squeeze=False).flat
    for block, (name, weights) in zip(blocks, history.items(), strict=True):
        block.suptitle(TITLES.get(name, name), weight="bold", size=11)
        grid = block.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        lines: dict[str, Any] = {}
        for edge, (source, node) in enumerate(edges[name]):
            axes = grid[nodes.index(node), source]
            axes.set_visible(True)
            own = dict(zip(operations[name][edge], weights[:, edge].T, strict=True))
            lines |= _over_time(axes, steps, own)
            label = f"{node_name(source, nodes[0], math=True)} → {node}"
            axes.set_title(label, size=9, pad=3)
            axes.set_ylim(0, top)
        names = map(pretty, lines)
        block.legend(lines.values(), names, loc="upper right", fontsize=8)
        block.supxlabel("step", size=9)
        block.supylabel("mixing weight", size=9)
    save(figure, path)


def _means(history: Mapping[str, np.ndarray], steps, operations) -> Figure:
    """One panel for every cell: for each operation its mean mixing weight over the
    edges that have it."""
    columns = 4
    rows = -(-len(history) // columns)
    figure = new_figure((2.6 * columns, 1.7 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(history) :]:
        axes.set_visible(False)
    means = {}
    for name, weights in history.items():
        held = np.array(operations[name])
        means[name] = {
            str(op): weights[:, held == op].mean(1) for op in dict.fromkeys(held.flat)
        }
    top = 1.05 * max(float(np.max(w)) for own in means.values() for w in own.values())
    lines: dict[str, Any] = {}
    for axes, (name, own) in zip(grid.flat, means.items(), strict=False):
        lines |= _over_time(axes, steps, own)
        axes.set_title(pretty(name), size=9, pad=3)
        axes.set_ylim(0, top)
    names = list(map(pretty, lines))
    figure.legend(
        lines.values(), names, loc="outside upper center", ncols=len(names), fontsize=8
    )
    figure.supxlabel("step", size=9)
    figure.supylabel("mixing weight, mean over the edges", size=9)
    return figure


def _over_time(axes: Axes, steps, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Draws the weights [T] of each operation; returns the lines by operation."""
    axes.tick_params(labelsize=7)
    clean(axes)
    return {
        op: axes.plot(steps, own, color=colour_of(op), lw=1.3)[0]
        for op, own in weights.items()
    }


def plot_curves(
    lines: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    metric: str = "accuracy",
) -> None:
    """Plots losses and a metric over the steps of every phase.

    Args:
      lines: the objects of `metrics.jsonl`: "phase", "step" and numbers; every
        number with "loss" or the metric in its name is drawn.
      path: the picture to write; its ending says the format: .png, .svg or .pdf.
      metric: drawn beside the losses.

    Raises:
      UserError: there is nothing to draw, the suffix is another one, or the file cannot
        be written.
    """
    curves: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for line in lines:
        for key, value in line.items():
            kind = next((k for k in ("loss", metric) if k in key), None)
            if key.startswith("eigenvalue"):  # its error is no error of a network
                continue
            if kind is not None and isinstance(value, int | float):
                panel = curves.setdefault((line["phase"], kind), {})
                panel.setdefault(key, []).append((line["step"], value))
    if not curves:
        raise UserError(
            f"There is no loss or {metric} to draw; let the run log a step."
        )
    phases = list(dict.fromkeys(phase for phase, _ in curves))
    kinds = sorted({kind for _, kind in curves}, reverse=True)
    figure = new_figure((4.2 * len(kinds), 2.8 * len(phases)), layout="constrained")
    grid = figure.subplots(len(phases), len(kinds), squeeze=False)
    for row, phase in zip(grid, phases, strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            panel = curves.get((phase, kind), {})
            axes.set_visible(bool(panel))
            for index, (key, points) in enumerate(panel.items()):
                colour = LINES[index % 4]
                mark = "o" if len(points) < 30 else None
                xy = np.array(points).T
                axes.plot(*xy, marker=mark, ms=3, color=colour, label=pretty(key))
            axes.set(title=phase, xlabel="step", ylabel=kind)
            if len(panel) > 1:
                axes.legend(fontsize=8)
            clean(axes)
    save(figure, path)


def plot_panels(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    x: str,
    path: str | os.PathLike[str],
) -> None:
    """Plots curves in panels, four in a row, without empty panels and curves.

    Args:
      panels: title -> name -> (x [T], y [T]).
      x: label of the x axis.
      path: the picture to write; its suffix is the format: .png, .svg or .pdf.

    Raises:
      UserError: the suffix is another one, or the file cannot be written.
    """
    filled = {
        title: {name: xy for name, xy in curves.items() if len(xy[0])}
        for title, curves in panels.items()
        if any(len(xy[0]) for xy in curves.values())
    }
    rows = max(-(-len(filled) // 4), 1)
    figure = new_figure((13, 2.7 * rows), layout="constrained")
    grid = figure.subplots(rows, 4, squeeze=False).flat
    for axes in grid[len(filled) :]:
        axes.set_visible(False)
    for axes, (title, curves) in zip(grid, filled.items(), strict=False):
        for index, (name, xy) in enumerate(curves.items()):
            colour = LINES[index % 4]
            mark, dash = "o" if len(xy[0]) < 30 else None, ("-", "--")[index % 2]
            axes.plot(*xy, dash, marker=mark, ms=3, color=colour, label=pretty(name))
        axes.set_title(title, size=10)
        axes.set_xlabel(x)
        if len(curves) > 1:
            axes.legend(fontsize=8)
        clean(axes)
    save(figure, path)
