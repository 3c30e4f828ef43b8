"""Mixing weights over a search: which operation leads on which edge, and since when."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

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

Edges = Sequence[tuple[int, int]]
Operations = Sequence[Sequence[str]]  # the O operations of each edge

LEAST = 0.5  # percentage points, range of a colour bar at least: smaller ones stay pale
WRITTEN = 150  # most weights of a cell that are written as numbers


def plot_alpha(
    history: Mapping[str, np.ndarray],
    steps: np.ndarray,
    operations: Mapping[str, Operations],
    edges: Mapping[str, Edges],
    path: str | os.PathLike[str],
    chosen: Mapping[str, Collection[tuple[str, int, int]]] | None = None,
    footer: str = "",
) -> None:
    """Plots mixing weights. For each cell type: the leading operation of every edge over
    time, the last weights, and the entropy over time.

    If there are more than two cell types, each has one panel: for every operation its
    mean weight over the edges.

    Args:
      history: cell type -> mixing weights [T, E, O].
      steps: search steps [T] of the weights.
      operations: cell type -> the O operations of each edge.
      edges: cell type -> its E edges as (source, node).
      path: the picture to write; its suffix is the format: .png, .svg or .pdf.
      chosen: cell type -> (operation, source, node) of the architecture found.
      footer: a line below the picture.

    Raises:
      UserError: the suffix is another one, or the file cannot be written.
    """
    if len(history) > 2:
        save(_means(history, steps, operations), path, footer)
        return
    heights = [*(0.25 * own.shape[1] + 1.1 for own in history.values()), 0.5]
    figure = new_figure((13, sum(heights)), layout="constrained")
    *blocks, last_block = figure.subfigures(
        len(heights), 1, squeeze=False, height_ratios=heights
    ).flat
    leaders: dict[str, Any] = {}
    for block, (kind, weights) in zip(blocks, history.items(), strict=True):
        block.suptitle(TITLES.get(kind, kind), weight="bold", size=11)
        time, last, entropy = block.subplots(1, 3, width_ratios=(2.3, 2.6, 1.3))
        names, own = operations[kind], edges[kind]
        found = (chosen or {}).get(kind, ())
        leaders |= _leading(time, weights, steps, names)
        inputs = min(node for _, node in own)
        kept = {(source, node) for _, source, node in found}
        labels = [
            f"{node_name(s, inputs, math=True)} → {n}{' *' * ((s, n) in kept)}"
            for s, n in own
        ]
        time.set_yticks(range(len(own)), labels, size=8)
        _last(last, weights[-1], names, own, found)
        last.set_title(f"mixing weights at step {steps[-1]}, %", size=9)
        _entropy(entropy, weights, steps)
    from matplotlib.patches import Patch

    handles = [Patch(color=colour_of(op), label=pretty(op)) for op in leaders]
    last_block.legend(
        handles=handles, loc="center left", ncols=len(handles), fontsize=8,
        title="leading operation; * and black frames: kept in the architecture found",
        title_fontsize=8, frameon=False, alignment="left",
    )  # fmt: skip
    save(figure, path, footer)


def _leading(
    axes: Axes, weights: np.ndarray, steps: np.ndarray, names: Operations
) -> dict[str, None]:
    """The colour of the leading operation [E, T]; returns the operations that lead."""
    from matplotlib.colors import to_rgba

    best = weights.argmax(2)  # [T, E]
    lead = weights.max(2) - weights.mean(2)
    full = max(1 - 1 / weights.shape[2], 1e-9)
    strong = 0.2 + 0.8 * np.sqrt(np.clip(lead / full, 0, 1))
    image = np.zeros((weights.shape[1], len(steps), 4))
    for edge, own in enumerate(names):
        for at in range(len(steps)):
            colour = to_rgba(colour_of(own[best[at, edge]]))
            image[edge, at] = (*colour[:3], strong[at, edge])
    axes.imshow(image, aspect="auto", interpolation="nearest")
    _steps(axes, steps)
    axes.set_title("leading operation; the stronger the colour, the clearer", size=9)
    return dict.fromkeys(
        own[index] for edge, own in enumerate(names) for index in best[:, edge]
    )


def _last(
    axes: Axes, weights: np.ndarray, names: Operations, edges: Edges, found: Collection
) -> None:
    """The last weights [E, O] in percent, coloured by their distance from equal weights."""
    from matplotlib.patches import Rectangle

    every = list(dict.fromkeys(op for own in names for op in own))
    table = np.full((len(edges), len(every)), np.nan)
    for edge, own in enumerate(names):
        table[edge, [every.index(op) for op in own]] = 100 * weights[edge]
    even = np.nanmean(table, 1, keepdims=True)
    most = max(float(np.nanmax(abs(table - even))), LEAST)
    shown = axes.imshow(
        table - even, aspect="auto", cmap="PuOr_r", vmin=-most, vmax=most
    )
    bar = axes.figure.colorbar(shown, ax=axes, pad=0.01, aspect=30)
    bar.ax.set_title("points above\nequal weights", size=7)
    bar.ax.tick_params(labelsize=7)
    axes.set_xticks(
        range(len(every)), map(pretty, every), size=7, rotation=30, ha="right"
    )
    axes.set_yticks([])
    digits = 1 if most < 10 else 0
    for (row, column), value in np.ndenumerate(table):
        if table.size <= WRITTEN and np.isfinite(value):
            dark = abs(value - even[row, 0]) > 0.65 * most
            colour = "white" if dark else "black"
            text = f"{value:.{digits}f}"
            axes.text(column, row, text, ha="center", va="center", size=7, color=colour)
    for op, source, node in found:
        if (source, node) in edges and op in every:
            at = (every.index(op) - 0.5, list(edges).index((source, node)) - 0.5)
            axes.add_patch(Rectangle(at, 1, 1, fill=False, lw=1.4, clip_on=False))


def _entropy(axes: Axes, weights: np.ndarray, steps: np.ndarray) -> None:
    """Entropy of the edges relative to its maximum; the axis spans a tenth at least."""
    share = weights / np.maximum(weights.sum(2, keepdims=True), 1e-30)
    own = -(share * np.log(np.maximum(share, 1e-30))).sum(2)
    own = own / max(np.log(weights.shape[2]), 1e-9)
    mark = "o" if len(steps) < 30 else None
    axes.plot(steps, own, color="#BBBBBB", lw=0.7)
    axes.plot(steps, own.mean(1), color=LINES[0], lw=1.6, marker=mark, ms=3)
    low = min(0.9, float(own.min()))
    axes.set_ylim(low - 0.04 * (1 - low), 1 + 0.04 * (1 - low))
    title = "entropy of the edges (blue: mean)\n1: all operations equal, 0: decided"
    axes.set_title(title, size=9)
    axes.set_xlabel("step", size=8)
    axes.tick_params(labelsize=7)
    clean(axes)


def _means(
    history: Mapping[str, np.ndarray],
    steps: np.ndarray,
    operations: Mapping[str, Operations],
) -> Figure:
    """One panel for every cell: for each operation its mean mixing weight over the
    edges that have it, in percentage points above equal weights."""
    columns = min(4, len(history))
    rows = -(-len(history) // columns)
    made = {}
    for kind, weights in history.items():
        held = np.array(operations[kind])
        names = list(dict.fromkeys(held.flat))
        each = [weights[:, held == op].mean(1) for op in names]
        made[kind] = (names, 100 * (np.array(each) - 1 / weights.shape[2]))
    tallest = max(len(names) for names, _ in made.values())
    size = (3.2 * columns + 0.6, (0.24 * tallest + 0.8) * rows + 0.4)
    figure = new_figure(size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(history) :]:
        axes.set_visible(False)
    most = max(LEAST, *(float(abs(own).max()) for _, own in made.values()))
    shown: Any = None
    for axes, (kind, (names, own)) in zip(grid.flat, made.items(), strict=False):
        shown = axes.imshow(own, aspect="auto", cmap="PuOr_r", vmin=-most, vmax=most)
        axes.set_title(pretty(kind), size=9, pad=3)
        axes.set_yticks(range(len(names)), map(pretty, names), size=7)
        _steps(axes, steps)
    bar = figure.colorbar(shown, ax=grid, pad=0.01, aspect=40)
    about = "mean mixing weight over the edges, points above equal weights"
    bar.set_label(about, size=8)
    bar.ax.tick_params(labelsize=7)
    return figure


def _steps(axes: Axes, steps: np.ndarray) -> None:
    """Ticks of columns at some of the steps [T]."""
    at = np.unique(np.linspace(0, len(steps) - 1, 6).round().astype(int))
    axes.set_xticks(at, [str(steps[i]) for i in at], size=7)
    axes.set_xlabel("step", size=8)
