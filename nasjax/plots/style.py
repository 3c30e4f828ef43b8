"""The style of all figures: colours, names, axes, and writing to files.

Every figure is a separate matplotlib `Figure` (no pyplot, no global state, no display
needed). matplotlib is imported on first use.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal

from nasjax.core.errors import UserError, short
from nasjax.core.files import named

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, distinguishable with every kind of colour vision.
COLOURS = {
    "none": "#9A9A3C",
    "max_pool_3x3": "#CC79A7",
    "avg_pool_3x3": "#E69F00",
    "skip_connect": "#000000",
    "noise": "#F0C000",
    "sep_conv_3x3": "#0072B2",
    "sep_conv_5x5": "#56B4E9",
    "dil_conv_3x3": "#009E73",
    "dil_conv_5x5": "#D55E00",
    "nor_conv_1x1": "#56B4E9",
    "nor_conv_3x3": "#0072B2",
}
OTHERS = ("#8C564B", "#7F3C8D", "#B8860B", "#2F4B7C")  # for other primitives and curves
LINES = ("#0072B2", "#56B4E9", "#009E73", "#D55E00")  # for curves of other quantities
TITLES = {"normal": "Normal cell", "reduce": "Reduction cell", "cell": "Cell"}


def node_name(node: int, inputs: int, math: bool = False) -> str:
    """The name of a node: c(k-2) and c(k-1) for inputs of the cell, else the number."""
    if node >= inputs:
        return str(node)
    return f"$c_{{k-{inputs - node}}}$" if math else f"c(k-{inputs - node})"


def pretty(op: str) -> str:
    """The name of a primitive or metric for display.

    >>> pretty("sep_conv_3x3")
    'sep conv 3×3'
    """
    return re.sub(r"(\d)x(\d)", r"\1×\2", op.replace("_", " "))


def colour_of(op: str) -> str:
    """The colour of a primitive; an unknown name always has the same colour."""
    return COLOURS.get(op) or OTHERS[sum(map(ord, op)) % len(OTHERS)]


def new_figure(
    size: tuple[float, float], layout: Literal["constrained"] | None = None
) -> Figure:
    """A new figure. size: (width, height) in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout=layout)


def clean(axes: Axes) -> None:
    """Gives axes a pale grid and removes the frame at the top and the right."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)


def save(figure: Figure, path: str | os.PathLike[str], footer: str = "") -> None:
    """Writes a figure; the suffix of the file is the format.

    Args:
      figure: the figure.
      path: the picture to write.
      footer: a line below the figure, such as the run that it shows.

    Raises:
      UserError: the suffix is not .png, .svg or .pdf, or the file cannot be written.
    """
    path = named(path)
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UserError(
            f"Cannot draw to {short(str(path))}: the name must end in .png, .svg or .pdf."
        )
    around: dict[str, Any] = {}
    if footer:
        figure.text(
            0.01, -0.005, footer, va="top", size=7.5, color="#444444", parse_math=False
        )
        around = {"bbox_inches": "tight", "pad_inches": 0.08}
    try:
        figure.savefig(path, dpi=200, facecolor="white", **around)
    except OSError as error:
        raise UserError(
            f"Cannot write the drawing {short(str(path))}: {error.strerror}; give a file in a "
            "folder that exists and can be written."
        ) from None
