"""The DARTS cell space: a directed acyclic graph whose edges carry primitives.

Nodes 0 and 1 are the outputs of the two cells before; every intermediate node
sums what its incoming edges bring; the cell's output concatenates the
intermediate nodes. Liu, Simonyan, Yang, "DARTS: Differentiable Architecture
Search", ICLR 2019, arXiv 1806.09055, section 2.1.
"""

from __future__ import annotations

from typing import NamedTuple

DARTS_8 = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
DARTS_7 = DARTS_8[1:]  # without `none`: the search space of ZARTS and SmoothDARTS


class CellSpace(NamedTuple):
    """A cell space. Everything else (supernet, counts, genotype) follows from it.

    Attributes:
      name: what genotype files say under "space".
      primitives: the O operations every edge may hold, in the order of alpha's axis.
      nodes: number of intermediate nodes.
      types: cell types; each has its own alpha of shape [E, O].
      inputs: number of cell inputs.
      picks: incoming edges that a node keeps in a genotype.
    """

    name: str
    primitives: tuple[str, ...]
    nodes: int = 4
    types: tuple[str, ...] = ("normal", "reduce")
    inputs: int = 2
    picks: int = 2

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The E edges as (source, target), ordered by target, then by source.

        >>> darts().edges[:5], len(darts().edges)
        (((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), 14)
        """
        last = self.inputs + self.nodes
        return tuple((s, t) for t in range(self.inputs, last) for s in range(t))

    @property
    def concat(self) -> tuple[int, ...]:
        """The nodes that the cell's output concatenates."""
        return tuple(range(self.inputs, self.inputs + self.nodes))


def darts(primitives: tuple[str, ...] = DARTS_8) -> CellSpace:
    """The DARTS space over any list of primitives."""
    return CellSpace("darts", tuple(primitives))


SPACES = {"darts": darts(), "darts7": darts(DARTS_7)}
