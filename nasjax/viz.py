"""Drawings of cells, and curves of a search.

Every figure is a matplotlib `Figure` of its own (no pyplot, no global state, no
display needed). matplotlib is imported on first use: `text` works without it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    "sep_conv_3x3": "#0072B2",
    "sep_conv_5x5": "#56B4E9",
    "dil_conv_3x3": "#009E73",
    "dil_conv_5x5": "#D55E00",
}
_OTHERS = ("#8C564B", "#7F3C8D", "#B8860B", "#2F4B7C")  # primitives of other spaces
_TITLES = {"normal": "Normal cell", "reduce": "Reduction cell"}
_RADIUS = 0.2  # of a node, in units of the distance between nodes


def text(genotype: Genotype) -> str:
    """The cells as a terminal drawing, two side by side, 76 columns for DARTS.

    >>> from nasjax.genotype import load
    >>> print(text(load("darts_v2")).splitlines()[1])
      c(k-2) ── sep_conv_3x3 ─┬─ 2          c(k-2) ── max_pool_3x3 ─┬─ 2
    """
    blocks = [_block(genotype, name) for name in genotype.cells]
    lines: list[str] = []
    for left, right in zip(blocks[::2], [*blocks[1::2], []], strict=False):
        width = max(map(len, left)) + 4
        right = right + [""] * (len(left) - len(right))
        lines += [(a.ljust(width) + b).rstrip() for a, b in zip(left, right, strict=True)]
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
            lines.append(f"  {name_of:<6} ── {op} {dashes}{joint}{end}")
    return [*lines, f"  output: {', '.join(map(str, genotype.concat))} concatenated"]


def draw(genotype: Genotype, path: str | os.PathLike[str]) -> None:
    """Draws every cell of a genotype: nodes in a row, operations as arcs above them.

    Args:
      genotype: the genotype.
      path: the picture to write; its ending says the format: .png, .svg or .pdf.

    Raises:
      UserError: another ending, or the file cannot be written.
    """
    names = list(genotype.cells)
    columns = 1 if len(names) <= 2 else 2
    rows = -(-len(names) // columns)
    last = genotype.concat[-1] + 1
    highest = max(_height(t - s) for n in names for t, g in _nodes(genotype, n) for _, s in g)
    bottom, top, scale = -0.5 - 0.1 * last, highest + 0.35, 1.15  # inches to a node
    size = (scale * (last + 0.9) * columns, scale * (top - bottom) * rows)
    figure = _figure(size)
    for index, name in enumerate(names):
        axes = figure.add_axes(
            (
                (index % columns) / columns,
                1 - (index // columns + 1) / rows,
                1 / columns,
                1 / rows,
            ),
            xlim=(-0.45, last + 0.45),
            ylim=(bottom, top),
            aspect="equal",
        )
        axes.axis("off")
        _draw_cell(axes, genotype, name)
        axes.text(-0.3, top - 0.12, _TITLES.get(name, name), va="top", weight="bold")
    _save(figure, path)


def _draw_cell(axes: Axes, genotype: Genotype, name: str) -> None:
    from matplotlib.patches import Circle, FancyBboxPatch

    last = genotype.concat[-1] + 1
    arcs = []
    for node, group in _nodes(genotype, name):
        seen: list[int] = []
        for op, source in group:
            lift = 0.3 * seen.count(source)  # a second arc between the same two nodes
            seen.append(source)
            arcs.append((op, _arc(source, node, _height(node - source) + lift)))
    for op, curve in arcs:
        _arrow(axes, curve, _colour(op), 1.4)
    for node in genotype.concat:
        _arrow(axes, _arc(node, last, -0.25 - 0.1 * (last - node)), "#AAAAAA", 0.9)
    _label(axes, arcs)
    for node in range(last):
        inner = node in genotype.concat
        face = "#E8EEF4" if inner else "white"
        axes.add_patch(Circle((node, 0), _RADIUS, fc=face, ec="black", lw=1, zorder=4))
        label = _source(node, genotype.concat[0], math=True)
        axes.text(node, 0, label, ha="center", va="center", size=9, zorder=5)
    box = FancyBboxPatch(
        (last - 0.2, -0.12), 0.4, 0.24, "round,pad=0.08", fc="white", ec="black", zorder=4
    )
    axes.add_patch(box)
    axes.text(last, 0, "concat", ha="center", va="center", size=8, zorder=5)


def _arc(start: float, end: float, height: float) -> np.ndarray:
    """A curve [200, 2] from node to node, cut where it enters their circles."""
    t = np.linspace(0, 1, 200)[:, None]
    reach = min(0.3, 0.3 * (end - start))
    knots = [(start, 0), (start + reach, height / 0.75), (end - reach, height / 0.75)]
    a, b, c, d = map(np.array, [*knots, (end, 0)])
    curve = (1 - t) ** 3 * a + 3 * t * (1 - t) ** 2 * b + 3 * t**2 * (1 - t) * c + t**3 * d
    ends = np.minimum(np.linalg.norm(curve - a, axis=1), np.linalg.norm(curve - d, axis=1))
    return curve[ends > _RADIUS + 0.03]


def _height(span: int) -> float:
    return 0.05 + 0.38 * span


def _arrow(axes: Axes, curve: np.ndarray, colour: str, width: float) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    style = "-|>,head_length=4,head_width=2"
    axes.add_patch(
        FancyArrowPatch(
            path=Curve(curve), arrowstyle=style, color=colour, lw=width, mutation_scale=1.2
        )
    )


def _label(axes: Axes, arcs: Sequence[tuple[str, np.ndarray]]) -> None:
    """Writes each operation on its arc, where it hides the least of the others."""
    half = np.array([0.42, 0.11])  # of a label, generously
    placed: list[np.ndarray] = []
    for index, (op, curve) in enumerate(arcs):
        others = np.concatenate([c for i, (_, c) in enumerate(arcs) if i != index])

        def cost(spot: np.ndarray, middle: np.ndarray, others: np.ndarray = others) -> float:
            hidden = (abs(others - spot) < half).all(axis=1).sum()
            clash = sum((abs(p - spot) < 2 * half).all() for p in placed)
            return hidden + 1000 * clash + 10 * np.linalg.norm(spot - middle)

        middle = curve[len(curve) // 2]
        spots = curve[len(curve) // 6 : -len(curve) // 6]
        spot = min(spots, key=lambda s: cost(s, middle))
        placed.append(spot)
        axes.text(
            *spot,
            _pretty(op),
            ha="center",
            va="center",
            size=8,
            color=_colour(op),
            zorder=3,
            bbox={"boxstyle": "round,pad=0.2", "fc": "white", "ec": _colour(op), "lw": 0.8},
        )


def plot_alpha(
    history: Mapping[str, np.ndarray],
    steps: np.ndarray,
    primitives: Sequence[str],
    edges: Sequence[tuple[int, int]],
    path: str | os.PathLike[str],
) -> None:
    """Plots mixing weights over time: per cell type, one panel for every edge.

    Args:
      history: cell type -> mixing weights [T, E, O].
      steps: their search steps [T].
      primitives: the O operations.
      edges: the E edges as (source, node).
      path: the picture to write; its ending says the format: .png, .svg or .pdf.

    Raises:
      UserError: another ending, or the file cannot be written.
    """
    nodes = sorted({node for _, node in edges})
    columns = max(source for source, _ in edges) + 1
    rows = len(nodes)
    figure = _figure((2.0 * columns, 1.45 * rows * len(history) + 0.2), layout="constrained")
    top = 1.05 * max(float(np.max(weights)) for weights in history.values())
    blocks = np.atleast_1d(figure.subfigures(len(history), 1))
    for block, (name, weights) in zip(blocks, history.items(), strict=True):
        block.suptitle(_TITLES.get(name, name), weight="bold", size=11)
        grid = block.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat:
            axes.set_visible(False)
        lines = []
        for edge, (source, node) in enumerate(edges):
            axes = grid[nodes.index(node), source]
            axes.set_visible(True)
            lines = [
                axes.plot(steps, weights[:, edge, o], color=_colour(op), lw=1.3)[0]
                for o, op in enumerate(primitives)
            ]
            label = f"{_source(source, nodes[0], math=True)} → {node}"
            axes.set_title(label, size=9, pad=3)
            axes.set_ylim(0, top)
            axes.tick_params(labelsize=7)
            _clean(axes)
        block.legend(lines, map(_pretty, primitives), loc="upper right", fontsize=8)
        block.supxlabel("step", size=9)
        block.supylabel("mixing weight", size=9)
    _save(figure, path)


def plot_curves(lines: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
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
                mark = "o" if len(points) < 30 else ""
                axes.plot(*zip(*points, strict=True), mark, ls="-", ms=3, color=colour)
                axes.lines[-1].set_label(key.replace("_", " "))
            axes.set(title=phase, xlabel="step", ylabel=kind)
            if len(panel) > 1:
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
    return op.replace("_", " ").replace("x", "×") if op[-1:].isdigit() else op.replace("_", " ")


def _colour(op: str) -> str:
    return _COLOURS.get(op) or _OTHERS[sum(map(ord, op)) % len(_OTHERS)]


def _figure(size: tuple[float, float], layout: str | None = None) -> Figure:
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
