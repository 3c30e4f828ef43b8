"""Pictures of saliency: original, heat map and overlay (SANAS, figures 3 to 5)."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nasjax.plots.style import new_figure, save

WARM = "turbo"  # blue is least salient, red most
CELL = 1.05  # side of an image, in inches
HEAD = 0.6  # height of the titles, in inches
SIDE = 1.1  # width of the names of the images, in inches
FULL = 99  # percentile of a map that has the warmest colour
LEGEND = (
    f"Each map alone and over its image. Blue is least salient, red the {FULL}th "
    "percentile of a map and above."
)


def draw(
    images: np.ndarray,
    of_runs: Mapping[str, Mapping[str, np.ndarray]],
    path: Path,
    names: Sequence[str] = (),
    footer: str = "",
) -> None:
    """Draws a row for each image: the image, then each map alone and over the image.

    Args:
      images: uint8 [N, H, W, C].
      of_runs: run -> method -> heat [N, H, W]; every map is divided by its 99th
        percentile, so that single pixels do not make the others dark.
      path: the file to write.
      names: of the images, at the left; empty: none.
      footer: a line below the picture.

    Raises:
      UserError: the suffix is not .png, .svg or .pdf, or the file cannot be written.
    """
    heats = [
        (run, name, heat) for run, own in of_runs.items() for name, heat in own.items()
    ]
    columns = 1 + 2 * len(heats)
    height, width = CELL * len(images), CELL * columns
    side = SIDE if names else 0.0
    figure = new_figure((width + side, height + HEAD))
    grid = figure.subplots(len(images), columns, squeeze=False)
    start, top = max(side / (width + side), 0.005), height / (height + HEAD)
    figure.subplots_adjust(start, 0.005, 0.995, top, 0.04, 0.04)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, image in zip(grid, images, strict=True):
        _show(row[0], image)
    grid[0][0].set_title("test image", fontsize=8)
    for name, own in zip(names, grid[:, 0], strict=False):
        place = {
            "transform": own.transAxes,
            "ha": "right",
            "va": "center",
            "parse_math": False,
        }
        own.text(-0.06, 0.5, textwrap.fill(name, 16), fontsize=8, **place)
    for number, (run, name, heat) in enumerate(heats):
        left, right = grid[:, 1 + 2 * number], grid[:, 2 + 2 * number]
        for heated, laid, image, one in zip(left, right, images, heat, strict=True):
            warmest = np.percentile(one, FULL, method="higher")
            scaled = one / max(float(warmest), 1e-30)
            heated.imshow(scaled, cmap=WARM, vmin=0, vmax=1)
            _show(laid, image)
            laid.imshow(scaled, cmap=WARM, vmin=0, vmax=1, alpha=0.55)
        head = "\n".join(textwrap.wrap(run, 26)[:2])
        left[0].set_title(f"{head}\n{name}", fontsize=8, loc="left", parse_math=False)
    save(figure, path, "\n".join(filter(None, (LEGEND, footer))))


def _show(axes, image: np.ndarray) -> None:
    """Shows an image: 3 channels in colour, otherwise the mean channel in grey."""
    if image.shape[-1] == 3:
        axes.imshow(image)
    else:
        axes.imshow(image.mean(-1), cmap="gray", vmin=0, vmax=255)
