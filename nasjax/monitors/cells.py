"""Measures of a cell: width, depth, and the share of operations without parameters.

Shu et al., "Understanding Architectures Learnt by Cell-based Neural Architecture
Search", ICLR 2020, arXiv 1909.09569, as used by Chen and Hsieh, SmoothDARTS,
arXiv 2002.05283, section 5.6.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from nasjax.spaces import SPACES, CellSpace

Pairs = Sequence[tuple[str, int]]  # (operation, source), as a genotype lists them

PARAMETER_FREE = frozenset(
    ("none", "noise", "skip_connect", "max_pool_3x3", "avg_pool_3x3")
)


def width(pairs: Pairs, space: CellSpace = SPACES["darts"]) -> float:
    """The width of a cell, in units of the width c of a node.

    The width is a sum over the intermediate nodes: for each node, the fraction of its
    pairs that read from an input of the cell. A pair with `none` reads nothing.

    Args:
      pairs: pairs of a cell, as in `Genotype.cells`.
      space: the space of the cell.

    Raises:
      ValueError: pairs are left over, or a node reads from itself or a later one.

    >>> from nasjax.spaces.published import PUBLISHED
    >>> cell = PUBLISHED["darts_v2"].cells["normal"]
    >>> width(cell), depth(cell)
    (3.5, 3)
    """
    own = [source for source in _sources(pairs, space).values() if source]
    return sum(sum(s < space.inputs for s in each) / len(each) for each in own)


def depth(pairs: Pairs, space: CellSpace = SPACES["darts"]) -> int:
    """The depth of a cell: number of edges on its longest path from input to output.

    The concatenation of nodes to the output counts as one edge. The depth is 0 if there
    is no path. The arguments and errors are the same as for `width`.
    """
    hops = dict.fromkeys(range(space.inputs), 0)
    for node, sources in _sources(pairs, space).items():
        reached = [hops[s] for s in sources if s in hops]
        if reached:
            hops[node] = 1 + max(reached)
    ways = [hops[node] for node in space.concat if node in hops]
    return max(ways) + (len(space.concat) > 1) if ways else 0


def parameter_free_share(pairs: Pairs, free: Collection[str] = PARAMETER_FREE) -> float:
    """The share of a cell's operations without parameters (SmoothDARTS, table 5).

    Args:
      pairs: see `width`.
      free: names of the operations without parameters, if operations were added.

    >>> parameter_free_share([("skip_connect", 0), ("sep_conv_3x3", 1)])
    0.5
    """
    return sum(name in free for name, _ in pairs) / len(pairs)


def _sources(pairs: Pairs, space: CellSpace) -> dict[int, list[int]]:
    """The nodes that every intermediate node reads from; `none` reads nothing."""
    if len(pairs) != len(space.targets):
        raise ValueError(
            f"The cell has {len(pairs)} pairs; expected {len(space.targets)}."
        )
    found: dict[int, list[int]] = {node: [] for node in space.intermediate}
    for (op, source), node in zip(pairs, space.targets, strict=True):
        if not 0 <= source < node:
            raise ValueError(
                f"Node {node} reads from {source}; expected nodes 0 to {node - 1}."
            )
        if op != "none":
            found[node].append(source)
    return found
