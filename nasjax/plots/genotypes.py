"""Drawings of cells: in the terminal, and as figures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nasjax.plots.style import TITLES, colour_of, new_figure, node_name, pretty, save
from nasjax.spaces import CellSpace
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.load import space_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RADIUS = 0.18  # radius of a node, in units of the distance between nodes


def text(genotype: Genotype) -> str:
    """The cells as a terminal drawing, two side by side, 70 columns for DARTS.

    >>> from nasjax.spaces.load import load
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
    pairs, space = genotype.cells[name], space_of(genotype)
    longest = max(len(op) for op, _ in pairs)
    lines = [TITLES.get(name, name)]
    for node, group in _nodes(genotype, name):
        for index, (op, source) in enumerate(group):
            first, last = index == 0, index == len(group) - 1
            joint = "──" if first and last else "┬─" if first else "╯" if last else "┤"
            dashes = "─" * (longest - len(op) + 1)
            end = f" {node}" if first else ""
            name_of = node_name(source, space.inputs)
            lines.append(f"  {name_of + ' ':─<7}── {op} {dashes}{joint}{end}")
    output = ", ".join(map(str, genotype.concat))
    return [*lines, f"  output: {output}{' concatenated' * (len(genotype.concat) > 1)}"]


def draw(genotype: Genotype, path: str | os.PathLike[str], footer: str = "") -> None:
    """Draws every cell of a genotype: nodes in a row, operations as arcs above them.

    c_(k-2) and c_(k-1) are the inputs of a cell. Its output c_k concatenates the grey
    nodes, or is the last node.

    Args:
      genotype: the genotype.
      path: the picture to write; its suffix is the format: .png, .svg or .pdf.
      footer: a line below the cells.

    Raises:
      UserError: the suffix is another one, or the file cannot be written.
    """
    cells = {name: _arcs(genotype, name) for name in genotype.cells}
    columns = 1 if len(cells) <= 2 else 2
    names = list(cells)
    rows = [names[i : i + columns] for i in range(0, len(names), columns)]
    tops = [max(c[:, 1].max() for n in row for _, c in cells[n]) + 0.5 for row in rows]
    bottom, last = -0.85, genotype.concat[-1] + 1
    width, height = last + 0.95, sum(tops) - bottom * len(rows)
    figure = new_figure((1.3 * width * columns, 1.3 * height))  # inches to a node
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
            _draw_cell(axes, cells[name], space_of(genotype))
            title = TITLES.get(name, name)
            axes.text(-0.25, top - 0.1, title, va="top", size=11, weight="bold")
    save(figure, path, footer)


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
    nodes more steeply, which keeps the arcs apart. `again` is the number of arcs
    already drawn between the same two nodes; it raises the arc, too.
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
    axes: Axes, arcs: Sequence[tuple[str, np.ndarray]], space: CellSpace
) -> None:
    from matplotlib.patches import Circle

    concat, last = space.concat, space.concat[-1] + 1
    for node in concat:
        _arrow(axes, _arc(node, last, below=True), "#AAAAAA", 0.9)
    for op, curve in arcs:
        _arrow(axes, curve, colour_of(op), 1.5)
    _label(axes, arcs)
    for node in range(last + 1):
        face = "#E8EEF4" if node in concat else "white"
        axes.add_patch(Circle((node, 0), _RADIUS, fc=face, ec="black", lw=1, zorder=4))
        label = "$c_k$" if node == last else node_name(node, space.inputs, math=True)
        axes.text(node, 0, label, ha="center", va="center", size=9, zorder=5)


def _arrow(axes: Axes, curve: np.ndarray, colour: str, width: float) -> None:
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path as Curve

    style = "-|>,head_length=4,head_width=1.8"
    path = Curve(curve)
    axes.add_patch(FancyArrowPatch(path=path, arrowstyle=style, color=colour, lw=width))


def _label(axes: Axes, arcs: Sequence[tuple[str, np.ndarray]]) -> None:
    """Writes each operation on its arc, where the label hides least of other arcs."""
    from matplotlib.colors import to_rgb

    half = np.array([0.36, 0.09])  # half of the size of a label
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
        tint = 0.88 + 0.12 * np.array(to_rgb(colour_of(op)))
        box = {"boxstyle": "round,pad=0.2", "fc": tint, "ec": colour_of(op), "lw": 0.9}
        style: dict[str, Any] = {
            "ha": "center",
            "va": "center",
            "size": 8,
            "zorder": 3,
            "bbox": box,
        }
        axes.text(spot[0], spot[1], pretty(op), **style)


def _covered(spots: np.ndarray, points: np.ndarray, half: np.ndarray) -> np.ndarray:
    """The number [S] of points [P, 2] in a box around each spot [S, 2]."""
    return (abs(points - spots[:, None]) < half).all(axis=2).sum(axis=1)


def _nodes(genotype: Genotype, name: str) -> list[tuple[int, tuple]]:
    """(node, its pairs) for every intermediate node of a cell."""
    space = space_of(genotype)
    both = list(zip(genotype.cells[name], space.targets, strict=True))
    return [(n, tuple(p for p, t in both if t == n)) for n in space.intermediate]
