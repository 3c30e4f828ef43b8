"""Stages of a search: edges first, then operators (Amended-DARTS, arXiv 1910.11831,
section 3.1.2)."""

from __future__ import annotations

from nasjax.core.errors import UserError
from nasjax.search.base import Algorithm, Stage
from nasjax.search.relax import paired, softmax, strongest_pairs
from nasjax.spaces import CellSpace

EDGES = ("pruned", "fixed", "searched")


def with_edges(algorithm: Algorithm, edges: str) -> Algorithm:
    """The algorithm with its edges pruned, fixed or searched.

    Args:
      algorithm: an algorithm with one stage.
      edges: "pruned": all edges are searched, and the strongest are kept at the end;
        "fixed": every node has two fixed edges, see `CellSpace.fixed`; "searched":
        edges are searched by pairs, before the operators.

    Raises:
      UserError: the algorithm has several stages, or a relaxation other than softmax.
    """
    if edges == "pruned":
        return algorithm
    if len(algorithm.stages) > 1:
        raise UserError(
            f"config.space.edges is {edges!r}, but this search already has several "
            'stages; set --config.space.edges to "pruned".'
        )
    if edges == "fixed":
        return algorithm._replace(stages=(Stage(space=_fixed),))
    if algorithm.relaxation is not softmax:
        raise UserError(
            "This search has a relaxation other than softmax and cannot search edges "
            'first; set --config.space.edges to "pruned" or "fixed".'
        )
    first = Stage(
        "edges",
        "edges",
        change=lambda own: own._replace(relaxation=paired),
        finish=_pairs,
    )
    return algorithm._replace(stages=(first, Stage(space=_kept)))


def _fixed(space: CellSpace, previous) -> CellSpace:
    del previous
    return space.fixed()


def _kept(space: CellSpace, previous) -> CellSpace:
    if previous is None:  # before the edge search: the same number of edges
        return space.fixed()
    return space.keep({k: [(s, t) for s, t in own] for k, own in previous.items()})


def _pairs(arch, space: CellSpace):
    strongest = strongest_pairs(arch, space)
    return {kind: [list(edge) for edge in own] for kind, own in strongest.items()}
