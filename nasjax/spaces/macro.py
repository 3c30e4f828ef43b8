"""The macro: how cells are stacked into a network (spec: DARTS, NASNet)."""

from __future__ import annotations

from typing import NamedTuple

from nasjax.errors import UserError

IMAGENET_PIXELS = 128  # side from which images get the stem of ImageNet's networks


class CellPlan(NamedTuple):
    """One cell of the stack.

    Attributes:
      type: "normal" or "reduce".
      channels: C, width of every node; the cell's output has 4 C channels.
      shrink: factors (s0, s1) by which each input's map is larger than the cell's
        first nodes: 2 where a reduction lies between (FactorizedReduce), else 1.
      inputs: channels of the two inputs; they tell which cells are alike.
    """

    type: str
    channels: int
    shrink: tuple[int, int]
    inputs: tuple[int, int]


class Macro(NamedTuple):
    """Width, depth and stem of a network.

    Attributes:
      channels: C of the first cell.
      cells: number of cells L.
      stem: "cifar" (one 3x3 convolution to 3 C channels) or "imagenet" (three
        strided ones; the two cell inputs are 4 and 8 times smaller than the image).
      stem_channels: width of the stem's output; None for 3 C (cifar) or C (imagenet).
      multiplier: output channels of a cell over C, the number of nodes concatenated.
    """

    channels: int
    cells: int
    stem: str = "cifar"
    stem_channels: int | None = None
    multiplier: int = 4

    @classmethod
    def of_images(
        cls, channels: int, cells: int, image_shape: tuple[int, ...], search=False
    ) -> Macro:
        """With the stem that fits images (H, W, ...): "imagenet" from 128 pixels.

        On ImageNet the stem of a supernet (`search`) is 3 C wide, as in PC-DARTS.

        >>> Macro.of_images(16, 8, (224, 224, 3), search=True).stem_width
        48
        """
        large = min(image_shape[:2]) >= IMAGENET_PIXELS
        stem = "imagenet" if large else "cifar"
        return cls(channels, cells, stem, 3 * channels if large and search else None)

    @property
    def reductions(self) -> tuple[int, ...]:
        """Indices of the reduction cells: a third and two thirds of the depth.

        >>> Macro(16, 8).reductions, Macro(36, 20).reductions
        ((2, 5), (6, 13))
        """
        return tuple(sorted({self.cells // 3, 2 * self.cells // 3}))

    @property
    def stem_width(self) -> int:
        """Channels that leave the stem."""
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
            kind = "reduce" if reduces else "normal"
            plan.append(CellPlan(kind, width, (2 if halved else 1, 1), (before, now)))
            before, now, halved = now, self.multiplier * width, reduces
        return tuple(plan)

    def map_sizes(self, image_size: int) -> tuple[int, ...]:
        """Side of the square map that leaves each cell; every halving rounds up.

        Raises:
          UserError: the image is too small for the reductions.

        >>> Macro(16, 3).map_sizes(25)
        (25, 13, 7)
        """
        if self.cells < 1 or self.channels < 2 or self.channels % 2:
            raise UserError(
                f"A network needs at least 1 cell and an even number of channels, but "
                f"got {self.cells} cells and {self.channels} channels; channels are "
                "halved by FactorizedReduce."
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
