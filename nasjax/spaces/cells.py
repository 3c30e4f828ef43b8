"""The DARTS cell space: a directed acyclic graph whose edges carry primitives.

Nodes 0 and 1 are the outputs of the two cells before; every intermediate node
sums what its incoming edges bring; the cell's output concatenates the
intermediate nodes. Liu, Simonyan, Yang, "DARTS: Differentiable Architecture
Search", ICLR 2019, arXiv 1806.09055, section 2.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
AMENDED_S2 = ("skip_connect", "sep_conv_3x3")  # there with an alpha for every cell
AMENDED_S3 = ("none", "skip_connect", "sep_conv_3x3")  # also S3 of R-DARTS


Edge = tuple[int, int]  # (source, target)


class CellSpace(NamedTuple):
    """A cell space. Everything else (supernet, counts, genotype) follows from it.

    Attributes:
      name: what genotype files say under "space".
      primitives: the O operations every edge may hold, in the order of alpha's axis.
      nodes: number of intermediate nodes.
      types: cell types; each has its own alpha of shape [E, O]: "normal" and "reduce",
        which all cells of a kind share, or "cell_0", "cell_1", ... (see `separate`).
      inputs: number of cell inputs.
      picks: incoming edges that a node keeps in a genotype.
      kept: the edges of every type in turn; None: all that `edges` has.
    """

    name: str
    primitives: tuple[str, ...]
    nodes: int = 4
    types: tuple[str, ...] = ("normal", "reduce")
    inputs: int = 2
    picks: int = 2
    kept: tuple[tuple[Edge, ...], ...] | None = None

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All edges that a cell can have, ordered by target, then by source.

        >>> darts().edges[:5], len(darts().edges)
        (((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), 14)
        """
        last = self.inputs + self.nodes
        return tuple((s, t) for t in range(self.inputs, last) for s in range(t))

    def edges_of(self, kind: str) -> tuple[Edge, ...]:
        """The E edges of a cell type, in the order of alpha's rows."""
        return self.edges if self.kept is None else self.kept[self.types.index(kind)]

    def alpha_shape(self, kind: str) -> tuple[int, int]:
        """(E, O) of a cell type."""
        return len(self.edges_of(kind)), len(self.primitives)

    @property
    def concat(self) -> tuple[int, ...]:
        """The nodes that the cell's output concatenates."""
        return tuple(range(self.inputs, self.inputs + self.nodes))

    def kind(self, index: int, role: str) -> str:
        """The type whose alpha cell `index` uses; role: "normal" or "reduce"."""
        return role if role in self.types else f"cell_{index}"

    def separate(self, cells: int) -> CellSpace:
        """The same space with an alpha of its own for each of `cells` cells.

        Space S2 of Amended-DARTS (arXiv 1910.11831, section 3.1.2).
        """
        return self._replace(types=tuple(f"cell_{i}" for i in range(cells)))

    def keep(self, kept: Mapping[str, Iterable[Edge]]) -> CellSpace:
        """The same space with only these edges, cell type -> (source, target)."""
        chosen = (sorted(kept[kind], key=self.edges.index) for kind in self.types)
        return self._replace(kept=tuple(tuple(edges) for edges in chosen))

    def fixed(self) -> CellSpace:
        """Node j reads from node j - 1 and from c(k-2), in every cell.

        The "fixed edges" of Amended-DARTS (section 3.1.2).

        >>> darts().fixed().edges_of("normal")[:4]
        ((0, 2), (1, 2), (0, 3), (2, 3))
        """
        chain = [(s, t) for s, t in self.edges if s in (0, t - 1)]
        return self.keep(dict.fromkeys(self.types, chain))


def darts(primitives: tuple[str, ...] = DARTS_8) -> CellSpace:
    """The DARTS space over any list of primitives."""
    return CellSpace("darts", tuple(primitives))


SPACES = {
    "darts": darts(),
    "darts7": darts(DARTS_7),
    "amended_s2": darts(AMENDED_S2),
    "amended_s3": darts(AMENDED_S3),
}
