"""Cell spaces: directed acyclic graphs whose edges carry primitives.

In a DARTS cell, nodes 0 and 1 are the outputs of the two previous cells, every
intermediate node is the sum of its incoming edges, and the cell's output concatenates
the intermediate nodes. Liu, Simonyan, Yang, "DARTS: Differentiable Architecture
Search", ICLR 2019, arXiv 1806.09055, section 2.1.

In a NAS-Bench-201 cell, node 0 is the output of the previous cell, all edges are kept
(an edge may hold `none`), and the output is the last node. Dong, Yang,
"NAS-Bench-201", ICLR 2020, arXiv 2001.00326, section 2.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from nasjax.spaces.mix import Mix, Weights

Edge = tuple[int, int]  # (source, target)


class CellSpace(NamedTuple):
    """A cell space. Everything else (supernet, counts, genotype) follows from it.

    Give your own space a new name and register it: `SPACES[space.name] = space`.
    Genotypes, networks and configs refer to the space by this name.

    Attributes:
      name: value of "space" in genotype files.
      primitives: the O operations that every edge may hold, in the order of alpha's
        columns; with `lists`, all operations that occur.
      nodes: number of intermediate nodes.
      types: cell types, each with an alpha [E, O]: "normal" and "reduce", shared by all
        cells of that role; a single type, shared by all cells; or "cell_0", "cell_1",
        ..., one for each cell (see `separate`).
      inputs: number of cell inputs.
      picks: number of incoming edges that a node keeps in a genotype; a node with fewer
        keeps all.
      output: nodes that the cell's output concatenates; None: the intermediate nodes.
      none: True if a genotype may hold `none`.
      reduction: "cell": a cell halves the maps; "block": a residual block before it.
      pool_norm: True if a batch norm follows each pool of a supernet.
      kept: for each type in turn, the edges of its cells; None: all of `edges`.
      lists: for each type in turn, O operations for each of `edges`; None: `primitives`
        for every edge.
    """

    name: str
    primitives: tuple[str, ...]
    nodes: int = 4
    types: tuple[str, ...] = ("normal", "reduce")
    inputs: int = 2
    picks: int = 2
    output: tuple[int, ...] | None = None
    none: bool = False
    reduction: str = "cell"
    pool_norm: bool = True
    kept: tuple[tuple[Edge, ...], ...] | None = None
    lists: tuple[tuple[tuple[str, ...], ...], ...] | None = None

    @property
    def edges(self) -> tuple[Edge, ...]:
        """All edges that a cell can have, ordered by target, then by source.

        >>> from nasjax.spaces import darts
        >>> darts().edges[:5], len(darts().edges)
        (((0, 2), (1, 2), (0, 3), (1, 3), (2, 3)), 14)
        """
        last = self.inputs + self.nodes
        return tuple((s, t) for t in range(self.inputs, last) for s in range(t))

    def edges_of(self, kind: str) -> tuple[Edge, ...]:
        """The E edges of a cell type, in the order of alpha's rows."""
        return self.edges if self.kept is None else self.kept[self.types.index(kind)]

    def operations(self, kind: str, edge: Edge) -> tuple[str, ...]:
        """The operations that an edge of a cell type may hold, as in alpha's columns.

        >>> from nasjax.spaces import SPACES
        >>> SPACES["s1"].operations("normal", (0, 4))
        ('max_pool_3x3', 'skip_connect')
        """
        if self.lists is None:
            return self.primitives
        return self.lists[self.types.index(kind)][self.edges.index(edge)]

    def choices(self, kind: str) -> tuple[tuple[str, ...], ...]:
        """`operations` of each edge of a cell type: E x O names, in alpha's order."""
        return tuple(self.operations(kind, edge) for edge in self.edges_of(kind))

    def real(self, kind: str) -> tuple[tuple[bool, ...], ...]:
        """Mask of `choices`: True except for `none` where no genotype may hold it."""
        held = lambda op: self.none or op != "none"
        return tuple(tuple(map(held, own)) for own in self.choices(kind))

    def alpha_shape(self, kind: str) -> tuple[int, int]:
        """The shape (E, O) of the alpha of a cell type."""
        edges = self.edges_of(kind)
        return len(edges), len(self.operations(kind, edges[0]))

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of each tensor of alpha; a choice is made along its last axis."""
        return {kind: self.alpha_shape(kind) for kind in self.types}

    def mix(self, shares: Mapping[str, Any]) -> Mix:
        """Mixing weights from the share of every choice, an array for each of `shapes`."""
        return {kind: Weights(shares[kind]) for kind in self.types}

    def readings(self) -> dict[str, CellSpace]:
        """The space with and without `none` in its genotypes, by "with_none" and
        "without_none"; empty if only one of them is possible.

        In a space that keeps its strongest edges no genotype holds `none`: an edge is
        strong by its largest weight, so an edge of `none` would take the place of an
        edge that carries something.

        >>> from nasjax.spaces import SPACES, darts
        >>> [*SPACES["nasbench201"].readings()], [*darts().readings()]
        (['with_none', 'without_none'], [])
        """
        offered = [set(ops) for kind in self.types for ops in self.choices(kind)]
        if self.prunes or not any("none" in ops for ops in offered):
            return {}
        if {"none"} in offered:
            return {}
        both = {"with_none": True, "without_none": False}
        return {name: self._replace(none=held) for name, held in both.items()}

    @property
    def intermediate(self) -> tuple[int, ...]:
        """The nodes between the inputs and the output."""
        return tuple(range(self.inputs, self.inputs + self.nodes))

    @property
    def concat(self) -> tuple[int, ...]:
        """The nodes that the cell's output concatenates."""
        return self.intermediate if self.output is None else self.output

    @property
    def targets(self) -> tuple[int, ...]:
        """The node that each pair of a genotype's cell enters.

        >>> from nasjax.spaces import SPACES, darts
        >>> darts().targets, SPACES["nasbench201"].targets
        ((2, 2, 3, 3, 4, 4, 5, 5), (1, 2, 2, 3, 3, 3))
        """
        return tuple(n for n in self.intermediate for _ in range(min(self.picks, n)))

    @property
    def prunes(self) -> bool:
        """True if a genotype has fewer edges than the space."""
        return len(self.targets) < len(self.edges)

    def kind(self, index: int, role: str) -> str:
        """The type whose alpha cell `index` uses; role: "normal" or "reduce"."""
        if len(self.types) == 1:
            return self.types[0]
        return role if role in self.types else f"cell_{index}"

    def role(self, kind: str) -> str:
        """The role of the cells of a type: "normal" or "reduce".

        >>> from nasjax.spaces import darts
        >>> own = darts().separate(8)
        >>> [kind for kind in own.types if own.role(kind) == "reduce"]
        ['cell_2', 'cell_5']
        """
        reductions = {f"cell_{i}" for i in places(len(self.types))}
        reduces = self.reduction == "cell" and kind in reductions
        return "reduce" if kind == "reduce" or reduces else "normal"

    def separate(self, cells: int) -> CellSpace:
        """The same space with a separate alpha for each of `cells` cells.

        Space S2 of Amended-DARTS (arXiv 1910.11831, section 3.1.2).
        """
        own = self._replace(types=tuple(f"cell_{i}" for i in range(cells)), lists=None)
        if self.lists is None or self.types == own.types:
            return own._replace(lists=self.lists)
        roles = [self.types.index(own.role(kind)) for kind in own.types]
        return own._replace(lists=tuple(self.lists[role] for role in roles))

    def keep(self, kept: Mapping[str, Iterable[Edge]]) -> CellSpace:
        """The same space with only these edges, cell type -> (source, target)."""
        chosen = (sorted(kept[kind], key=self.edges.index) for kind in self.types)
        return self._replace(kept=tuple(tuple(edges) for edges in chosen))

    def fixed(self) -> CellSpace:
        """The same space, where node j reads from node j - 1 and from node 0, c(k-2).

        The "fixed edges" of Amended-DARTS (section 3.1.2).

        >>> from nasjax.spaces import darts
        >>> darts().fixed().edges_of("normal")[:4]
        ((0, 2), (1, 2), (0, 3), (2, 3))
        """
        chain = [(s, t) for s, t in self.edges if s in (0, t - 1)]
        return self.keep(dict.fromkeys(self.types, chain))


def places(cells: int) -> tuple[int, ...]:
    """Indices of the cells that reduce: at one third and two thirds of the stack.

    >>> places(8), places(20)
    ((2, 5), (6, 13))
    """
    return tuple(sorted({cells // 3, 2 * cells // 3}))
