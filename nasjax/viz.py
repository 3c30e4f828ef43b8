"""Drawings of cells, and curves of a search.

Every figure is a matplotlib `Figure` of its own (no pyplot, no global state, no
display needed). matplotlib is imported on first use: `text` works without it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nasjax.errors import UserError
from nasjax.genotype import Genotype

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with every kind of colour vision.
_COLOURS = {
    "none": "#666666",
    "max_pool_3x3": "#CC79A7",
    "avg_pool_3x3": "#E69F00",
    "skip_connect": "#000000",
    "noise": "#F0C000",
    "sep_conv_3x3": "#0072B2",
    "sep_conv_5x5": "#56B4E9",
    "dil_conv_3x3": "#009E73",
    "dil_conv_5x5": "#D55E00",
}
_OTHERS = ("#8C564B", "#7F3C8D", "#B8860B", "#2F4B7C")  # primitives of other spaces
_TITLES = {"normal": "Normal cell", "reduce": "Reduction cell"}
_RADIUS = 0.18  # of a node, in units of the distance between nodes


def text(genotype: Genotype) -> str:
    """The cells as a terminal drawing, two side by side, 70 columns for DARTS.

    >>> from nasjax.genotype import load
    >>> print(text(load("darts_v2")).splitlines()[1])
      c(k-2) ── sep_conv_3x3 ─┬─ 2         c(k-2) ── max_pool_3x3 ─┬─ 2
    """
    blocks = [_block(genotype, name) for name in genotype.cells]
    lines: list[str] = []
    for left, right in zip(blocks[::2], [*blocks[1::2], []], strict=False):
        width = max(map(len, left)) + 4
        right = right + [""] * (len(left) - len(right))
        both = zip(left, right, strict=True)
        lines += [(a.ljust(width) + b).rstrip() for a, b in both]
        lines.append("")
    return "\n".join(lines[:-1])


def _block(genotype: Genotype, name: str) -> list[str]:
    pairs = genotype.cells[name]
    longest = max(len(op) for op, _ in pairs)
    lines = [_TITLES.get(name, name)]
    for node, group in _nodes(genotype, name):
        for index, (op, source) in enumerate(group):
            first, last = index == 0, index == len(group) - 1
            joint = "──" if first and last else "┬─" if first else "╯" if last else "┤"
            dashes = "─" * (longest - len(op) + 1)
            end = f" {node}" if first else ""
            name_of = _source(source, genotype.concat[0])
            lines.append(f"  {name_of + ' ':─<7}── {op} {dashes}{joint}{end}")
    return [*lines, f"  output: {', '.join(map(str, genotype.concat))} concatenated"]


def draw(genotype: Genotype, path: str | os.PathLike[str]) -> None:
    """Draws every cell of a genotype: nodes in a row, operations as arcs above them.

    c_(k-2) and c_(k-1) are the cell's inputs; its output c_k concatenates (grey) the
    nodes between.

    Args:
      genotype: the genotype.
      path: the picture to write; its ending says the format: .png, .svg or .pdf.

    Raises:
      UserError: another ending, or the file cannot be written.
    """
    cells = {name: _arcs(genotype, name) for name in genotype.cells}
    columns = 1 if len(cells) <= 2 else 2
    names = list(cells)
    rows = [names[i : i + columns] for i in range(0, len(names), columns)]
    tops = [max(c[:, 1].max() for n in row for _, c in cells[n]) + 0.5 for row in rows]
    bottom, last = -0.85, genotype.concat[-1] + 1
    width, height = last + 0.95, sum(tops) - bottom * len(rows)
    figure = _figure((1.3 * width * columns, 1.3 * height))  # inches to a node
    above = 0.0
    for row, top in zip(rows, tops, strict=True):
        above += top - bottom
        for column, name in enumerate(row):
            place = (column / columns, 1 - above / height)
            axes = figure.add_axes(
                (*place, 1 / columns, (top - bottom) / height),
                xlim=(-0.4, width - 0.4),
                ylim=(bottom, top),
            )
            axes.axis("off")
            _draw_cell(axes, cells[name], genotype.concat)
            title = _TITLES.get(name, name)
            axes.text(-0.25, top - 0.1, title, va="top", size=11, weight="bold")
    _save(figure, path)


def _arcs(genotype: Genotype, name: str) -> list[tuple[str, np.ndarray]]:
    """(operation, its curve [P, 2]) for every pair of a cell."""
    arcs = []
    for node, group in _nodes(genotype, name):
        for index, (op, source) in enumerate(group):
            again = sum(other == source for _, other in group[:index])
            arcs.append((op, _arc(source, node, again)))
    return arcs


def _arc(start: int, end: int, again: int = 0, below: bool = False) -> np.ndarray:
    """A curve [P, 2] from node to node, cut where it enters their circles.

    Neighbours are joined by a straight line. Longer arcs are higher and leave their
    nodes more steeply, which keeps them apart; so does `again`, which counts the
    arcs drawn between the same two nodes before.
    """
    span = end - start
    height = (-0.18 - 0.1 * span) if below else 0.1 + 0.36 * span + 0.3 * again
    angle = np.radians(min(30 + 13 * span + 8 * again, 89))
    if span == 1 and again == 0:
        height = 0.0
    reach = min(abs(height) / 0.75 / np.tan(angle), 0.5 * span)
    t = np.linspace(0, 1, 200)[:, None]
    top = height / 0.75
    a, b = np.array([start, 0.0]), np.array([start + reach, top])
    c, d = np.array([end - reach, top]), np.array([end, 0.0])
    curve = (1 - t) ** 3 * a + 3 * t * (1 - t) * ((1 - t) * b + t * c) + t**3 * d
    gap = np.minimum(*(np.linalg.norm(curve - node, axis=1) for node in (a, d)))
    return curve[gap > _RADIUS + 0.03]


def _draw_cell(
    axes: Axes, arcs: Sequence[tuple[str, np.ndarray]], concat: Sequence[int]
) -> None:
    from matplotlib.patches import Circle

    last = concat[-1] + 1
    for node in concat:
        _arrow(axes, _arc(node, last, below=True), "#AAAAAA", 0.9)
    for op, curve in arcs:
        _arrow(axes, curve, _colour(op), 1.5)
    _label(axes, arcs)
    for node in range(last + 1):
        face = "#E8EEF4" if node in concat else "white"
        axes.add_patch(Circle((node, 0), _RADIUS, fc=face, ec="black", lw=1, zorder=4))
        label = "$c_k$" if node == last else _source(node, concat[0], math=True)
        axes.text(node, 0, label, ha="center", va="center", size=9, zorder=5)


def _arrow(axes: Axes, curve: np.ndarray, colour: str, width: float) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    style = "-|>,head_length=4,head_width=1.8"
    path = Curve(curve)
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle=style, color=colour, lw=width))


def _label(axes: Axes, arcs: Sequence[tuple[str, np.ndarray]]) -> None:
    """Writes each operation on its arc, where it hides the least of the others."""
    from matplotlib.colors import to_rgb

    half = np.array([0.36, 0.09])  # of a label
    heads = np.concatenate([curve[-14:] for _, curve in arcs])
    placed: list[np.ndarray] = []
    for op, curve in sorted(arcs, key=lambda arc: arc[1][:, 1].max()):
        others = np.concatenate([heads, *(c for _, c in arcs if c is not curve)])
        spots = curve[len(curve) // 6 : -len(curve) // 6]
        if not curve[:, 1].any():  # a straight line is too short to write on
            spots = curve[len(curve) // 2 :][:1] + np.array([0, 0.14])
        cost = 10 * np.linalg.norm(spots - curve[len(curve) // 2], axis=1)
        cost += _covered(spots, others, half) + 19 * _covered(spots, heads, half)
        if placed:
            cost += 1000 * _covered(spots, np.array(placed), 2 * half)
        spot = spots[cost.argmin()]
        placed.append(spot)
        tint = 0.88 + 0.12 * np.array(to_rgb(_colour(op)))
        box = {"boxstyle": "round,pad=0.2", "fc": tint, "ec": _colour(op), "lw": 0.9}
        style: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "size": 8,
            "zorder": 3,
            "bbox": box,
        }
        axes.text(spot[0], spot[1], _pretty(op), **style)


def _covered(spots: np.ndarray, points: np.ndarray, half: np.ndarray) -> np.ndarray:
    """How many points [P, 2] lie in a box around each spot [S, 2]."""
    return (abs(points - spots[:, None]) < half).all(axis=2).sum(axis=1)


def plot_alpha(
    history: Mapping[str, np.ndarray],
    steps: np.ndarray,
    operations: Mapping[str, Sequence[Sequence[str]]],
    edges: Mapping[str, Sequence[tuple[int, int]]],
    path: str | os.PathLike[str],
) -> None:
    """Plots mixing weights over time: per cell type, one panel for every edge.

    Of more than two cell types, one panel each, with the mean over its edges.

    Args:
      history: cell type -> mixing weights [T, E, O].
      steps: their search steps [T].
      operations: cell type -> the O operations of each edge.
      edges: cell type -> its E edges as (source, node).
      path: the picture to write; its ending says the format: .png, .svg or .pdf.

    Raises:
      UserError: another ending, or the file cannot be written.
    """
    if len(history) > len(_TITLES):
        _save(_means(history, steps, operations), path)
        return
    every = [edge for own in edges.values() for edge in own]
    nodes = sorted({node for _, node in every})
    columns = max(source for source, _ in every) + 1
    rows = len(nodes)
    size = (2.0 * columns, 1.45 * rows * len(history) + 0.2)
    figure = _figure(size, layout="constrained")
    top = 1.05 * max(float(np.max(weights)) for weights in history.values())
    blocks = figure.subfigures(len(history), 1, squeeze=False).flat
    for block, (name, weights) in zip(blocks, history.items(), strict=True):
        block.suptitle(_TITLES.get(name, name), weight="bold", size=11)
        grid = block.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        lines: dict[str, Any] = {}
        for edge, (source, node) in enumerate(edges[name]):
            axes = grid[nodes.index(node), source]
            axes.set_visible(True)
            own = dict(zip(operations[name][edge], weights[:, edge].T, strict=True))
            lines |= _over_time(axes, steps, own)
            label = f"{_source(source, nodes[0], math=True)} → {node}"
            axes.set_title(label, size=9, pad=3)
            axes.set_ylim(0, top)
        names = map(_pretty, lines)
        block.legend(lines.values(), names, loc="upper right", fontsize=8)
        block.supxlabel("step", size=9)
        block.supylabel("mixing weight", size=9)
    _save(figure, path)


def _means(history: Mapping[str, np.ndarray], steps, operations) -> Figure:
    """One panel for every cell: mixing weights, averaged over the edges that hold an
    operation."""
    columns = 4
    rows = -(-len(history) // columns)
    figure = _figure((2.6 * columns, 1.7 * rows + 0.6), layout="constrained")
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
        axes.set_title(_pretty(name), size=9, pad=3)
        axes.set_ylim(0, top)
    names = list(map(_pretty, lines))
    figure.legend(
        lines.values(), names, loc="outside upper center", ncols=len(names), fontsize=8
    )
    figure.supxlabel("step", size=9)
    figure.supylabel("mixing weight, mean over the edges", size=9)
    return figure


def _over_time(axes: Axes, steps, weights: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A line for each operation -> its weights [T]."""
    axes.tick_params(labelsize=7)
    _clean(axes)
    return {
        op: axes.plot(steps, own, color=_colour(op), lw=1.3)[0]
        for op, own in weights.items()
    }


def plot_curves(
    lines: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]
) -> None:
    """Plots losses and accuracies over the steps of every phase.

    Args:
      lines: the objects of `metrics.jsonl`: "phase", "step" and numbers; every
        number with "loss" or "accuracy" in its name is drawn.
      path: the picture to write; its ending says the format: .png, .svg or .pdf.

    Raises:
      UserError: nothing to draw, another ending, or the file cannot be written.
    """
    curves: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    for line in lines:
        for key, value in line.items():
            kind = next((k for k in ("loss", "accuracy") if k in key), None)
            if kind is not None and isinstance(value, int | float):
                panel = curves.setdefault((line["phase"], kind), {})
                panel.setdefault(key, []).append((line["step"], value))
    if not curves:
        raise UserError("There is no loss or accuracy to draw; let the run log a step.")
    phases = list(dict.fromkeys(phase for phase, _ in curves))
    kinds = sorted({kind for _, kind in curves}, reverse=True)
    figure = _figure((4.2 * len(kinds), 2.8 * len(phases)), layout="constrained")
    grid = figure.subplots(len(phases), len(kinds), squeeze=False)
    for row, phase in zip(grid, phases, strict=True):
        for axes, kind in zip(row, kinds, strict=True):
            panel = curves.get((phase, kind), {})
            axes.set_visible(bool(panel))
            for index, (key, points) in enumerate(panel.items()):
                colour = list(_COLOURS.values())[4 + index % 4]
                mark = "o" if len(points) < 30 else None
                xy = np.array(points).T
                axes.plot(*xy, marker=mark, ms=3, color=colour, label=_pretty(key))
            axes.set(title=phase, xlabel="step", ylabel=kind)
            if len(panel) > 1:
                axes.legend(fontsize=8)
            _clean(axes)
    _save(figure, path)


def plot_panels(
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    x: str,
    path: str | os.PathLike[str],
) -> None:
    """Plots curves in panels, four in a row; those without any point are left out.

    Args:
      panels: title -> name -> (x [T], y [T]).
      x: what the x axis is.
      path: the picture to write; its ending says the format: .png, .svg or .pdf.

    Raises:
      UserError: another ending, or the file cannot be written.
    """
    filled = {
        title: {name: xy for name, xy in curves.items() if len(xy[0])}
        for title, curves in panels.items()
        if any(len(xy[0]) for xy in curves.values())
    }
    rows = max(-(-len(filled) // 4), 1)
    figure = _figure((13, 2.7 * rows), layout="constrained")
    grid = figure.subplots(rows, 4, squeeze=False).flat
    for axes in grid[len(filled) :]:
        axes.set_visible(False)
    for axes, (title, curves) in zip(grid, filled.items(), strict=False):
        for index, (name, xy) in enumerate(curves.items()):
            colour = list(_COLOURS.values())[5 + index % 4]
            mark, dash = "o" if len(xy[0]) < 30 else None, ("-", "--")[index % 2]
            axes.plot(*xy, dash, marker=mark, ms=3, color=colour, label=_pretty(name))
        axes.set_title(title, size=10)
        axes.set_xlabel(x)
        if len(curves) > 1:
            axes.legend(fontsize=8)
        _clean(axes)
    _save(figure, path)


def _nodes(genotype: Genotype, name: str) -> list[tuple[int, tuple]]:
    """(node, its pairs) for every intermediate node of a cell."""
    pairs, nodes = genotype.cells[name], genotype.concat
    picks = len(pairs) // len(nodes)
    return [(n, pairs[i * picks : (i + 1) * picks]) for i, n in enumerate(nodes)]


def _source(node: int, inputs: int, math: bool = False) -> str:
    """c(k-2) and c(k-1) for the cell's inputs, the number for its other nodes."""
    if node >= inputs:
        return str(node)
    return f"$c_{{k-{inputs - node}}}$" if math else f"c(k-{inputs - node})"


def _pretty(op: str) -> str:
    return re.sub(r"(\d)x(\d)", r"\1×\2", op.replace("_", " "))


def _colour(op: str) -> str:
    return _COLOURS.get(op) or _OTHERS[sum(map(ord, op)) % len(_OTHERS)]


def _figure(
    size: tuple[float, float], layout: Literal["constrained"] | None = None
) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout=layout)


def _clean(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)


def _save(figure: Figure, path: str | os.PathLike[str]) -> None:
    path = Path(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(
            f"Cannot draw to {path}: the name must end in .png, .svg or .pdf."
        )
    try:
        figure.savefig(path, dpi=200, facecolor="white")
    except OSError as error:
        raise UserError(
            f"Cannot write the drawing {path}: {error.strerror}; give a file in a "
            "folder that exists and can be written."
        ) from None
