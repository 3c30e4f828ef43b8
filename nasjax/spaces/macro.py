"""The macro: how cells are stacked into a network (DARTS, NASNet, NAS-Bench-201)."""

from __future__ import annotations

from typing import NamedTuple

from nasjax.core.errors import UserError
from nasjax.spaces.cells import CellSpace, places

IMAGENET_PIXELS = 128  # images of at least this side get the ImageNet stem


class CellPlan(NamedTuple):
    """One cell of the stack.

    Attributes:
      type: "normal" or "reduce".
      channels: C, width of every node; a DARTS cell outputs 4 C channels.
      shrink: factors (s0, s1) by which each input's map is larger than the cell's
        first nodes: 2 where a reduction lies between (FactorizedReduce), else 1. Empty
        where a cell takes the previous cell's output unchanged.
      inputs: number of channels of each input; empty where `shrink` is empty. Cells
        with equal plans are alike.
    """

    type: str
    channels: int
    shrink: tuple[int, ...]
    inputs: tuple[int, ...]


class Macro(NamedTuple):
    """Width, depth and stem of a network.

    Attributes:
      channels: C of the first cell.
      cells: number of cells L.
      stem: "cifar" (one 3x3 convolution to 3 C channels) or "imagenet" (three
        strided convolutions; the two cell inputs are 4 and 8 times smaller than the
        image).
      stem_channels: width of the stem's output; None for 3 C (cifar) or C (imagenet).
      multiplier: a cell's output channels over C, the number of concatenated nodes.
      reduction: "cell": two of the cells halve the maps and double the width; "block":
        a residual block before each of the two does (NAS-Bench-201: three stages of N
        cells are 3 N cells).
    """

    channels: int
    cells: int
    stem: str = "cifar"
    stem_channels: int | None = None
    multiplier: int = 4
    reduction: str = "cell"

    @classmethod
    def of(
        cls, space: CellSpace, channels: int, cells: int, stem: str, search=False
    ) -> Macro:
        """The macro of a space's networks.

        On ImageNet the stem of a DARTS supernet (`search`) is 3 C wide, as in PC-DARTS.
        """
        width = 3 * channels if stem == "imagenet" and search else None
        if space.reduction == "block":
            width = channels
        outputs = len(space.concat)
        return cls(channels, cells, stem, width, outputs, space.reduction)

    @classmethod
    def of_images(
        cls,
        space: CellSpace,
        channels: int,
        cells: int,
        image_shape: tuple[int, ...],
        search=False,
    ) -> Macro:
        """The macro with the stem for images (H, W, ...): "imagenet" from 128 pixels.

        >>> from nasjax.spaces import darts
        >>> Macro.of_images(darts(), 16, 8, (224, 224, 3), search=True).stem_width
        48
        """
        large = min(image_shape[:2]) >= IMAGENET_PIXELS
        stem = "imagenet" if large else "cifar"
        return cls.of(space, channels, cells, stem, search)

    @property
    def reductions(self) -> tuple[int, ...]:
        """Indices of the cells that reduce or follow a block: at 1/3 and 2/3.

        >>> Macro(16, 8).reductions, Macro(36, 20).reductions
        ((2, 5), (6, 13))
        """
        return places(self.cells)

    @property
    def stem_width(self) -> int:
        """Number of channels of the stem's output."""
        if self.stem_channels is not None:
            return self.stem_channels
        return self.channels * (3 if self.stem == "cifar" else 1)

    def plan(self) -> tuple[CellPlan, ...]:
        """The cells from first to last."""
        before = now = self.stem_width
        width, halved = self.channels, self.stem == "imagenet"
        plan = []
        for index in range(self.cells):
            reduces = index in self.reductions
            width *= 2 if reduces else 1
            if self.reduction == "block":
                plan.append(CellPlan("normal", width, (), ()))
                continue
            kind = "reduce" if reduces else "normal"
            plan.append(CellPlan(kind, width, (2 if halved else 1, 1), (before, now)))
            before, now, halved = now, self.multiplier * width, reduces
        return tuple(plan)

    def map_sizes(self, image_size: int) -> tuple[int, ...]:
        """Side of the square output map of each cell; every halving rounds up.

        Raises:
          UserError: the image is too small for the reductions.

        >>> Macro(16, 3).map_sizes(25)
        (25, 13, 7)
        """
        if self.cells < 1 or self.channels < 2:
            raise UserError(
                f"A network needs at least 1 cell and 2 channels, but got {self.cells} "
                f"cells and {self.channels} channels."
            )
        if self.stem == "imagenet" and self.channels % 2:
            raise UserError(
                f"The imagenet stem halves its channels, and {self.channels} is odd; "
                "give an even number of channels."
            )
        size = image_size if self.stem == "cifar" else -(-image_size // 8)
        halvings = len(self.reductions)
        if size < 2**halvings:
            smallest = 2**halvings * (1 if self.stem == "cifar" else 8)
            raise UserError(
                f"Images of {image_size}x{image_size} are too small for {halvings} "
                f"reductions: with the {self.stem} stem the smallest size is "
                f"{smallest}; use larger images or fewer cells."
            )
        sizes = []
        for index in range(self.cells):
            size = -(-size // 2) if index in self.reductions else size
            sizes.append(size)
        return tuple(sizes)
