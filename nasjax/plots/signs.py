"""Signs of a collapse over the epochs, in panels of a fixed scale."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nasjax.plots.style import LINES, clean, new_figure, pretty, save

COLUMNS = 4


class Panel(NamedTuple):
    """A panel.

    Attributes:
      title: what is drawn, with its unit.
      meaning: which values are a sign of what.
      curves: name -> (epochs [T], values [T]).
      limits: (lowest, highest) value of the axis; values beyond them extend it.
      bands: name -> (low, high) of random cells, shaded.
      mark: (value, words): a dashed line.
      stop: epoch to mark by a vertical line; None: none.
    """

    title: str
    meaning: str
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
    limits: tuple[float, float] = (0.0, 0.0)
    bands: Mapping[str, tuple[float, float]] = {}
    mark: tuple[float, str] | None = None
    stop: int | None = None


def plot_signs(
    panels: Sequence[Panel], path: str | os.PathLike[str], footer: str = ""
) -> None:
    """Plots panels, four in a row, without empty panels and curves.

    Args:
      panels: the panels.
      path: the picture to write; its suffix is the format: .png, .svg or .pdf.
      footer: a line below the picture.

    Raises:
      UserError: the suffix is another one, or the file cannot be written.
    """
    filled = [p for p in panels if any(len(x) for x, _ in p.curves.values())]
    rows = max(-(-len(filled) // COLUMNS), 1)
    figure = new_figure((13, 3.3 * rows), layout="constrained")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for axes in grid[len(filled) :]:
        axes.set_visible(False)
    for axes, panel in zip(grid, filled, strict=False):
        curves = {name: xy for name, xy in panel.curves.items() if len(xy[0])}
        for index, (name, xy) in enumerate(curves.items()):
            colour, dash = LINES[(0, 3, 2, 1)[index % 4]], ("-", "--")[index % 2]
            mark = "o" if len(xy[0]) < 30 else None
            axes.plot(*xy, dash, marker=mark, ms=3, color=colour, label=pretty(name))
        same = len(set(panel.bands.values())) == 1
        for index, (name, (low, high)) in enumerate(panel.bands.items()):
            if name not in curves or (same and index):
                continue
            colour = "#888888" if same else LINES[(0, 3, 2, 1)[index % 4]]
            label = "random cells" + ("" if same else f", {pretty(name)}")
            axes.axhspan(low, high, color=colour, alpha=0.15, lw=0, label=label)
        if panel.mark is not None:
            axes.axhline(
                panel.mark[0], color="black", lw=0.9, ls=":", label=panel.mark[1]
            )
        if panel.stop is not None:
            axes.axvline(panel.stop, color="black", lw=0.9, label="DARTS-ES stops")
        every = np.concatenate([y for _, y in curves.values()])
        every = every[np.isfinite(every)]
        low = every.min(initial=panel.limits[0])
        high = every.max(initial=panel.limits[1])
        room = 0.04 * (high - low) or 1.0
        axes.set_ylim(low - room, high + room)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_title(panel.title, size=9, pad=16)
        place = {"transform": axes.transAxes, "ha": "center", "va": "bottom"}
        axes.text(0.5, 1.015, panel.meaning, size=8, color="#B03A00", **place)
        axes.set_xlabel("epoch", size=8)
        axes.tick_params(labelsize=8)
        axes.legend(
            loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=7,
            frameon=False,
        )  # fmt: skip
        clean(axes)
    save(figure, path, footer)
