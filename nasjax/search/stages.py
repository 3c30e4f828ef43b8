"""Stages of a search: edges first, then operators (Amended-DARTS, arXiv 1910.11831,
section 3.1.2)."""

from __future__ import annotations

from nasjax.core.errors import UserError
from nasjax.search.base import Algorithm, Stage
from nasjax.search.relax import paired, softmax, strongest_pairs
from nasjax.spaces import CellSpace

EDGES = ("pruned", "fixed", "searched")


def with_edges(algorithm: Algorithm, edges: str) -> Algorithm:
    """The algorithm with its edges treated so.

    Args:
      algorithm: of one stage.
      edges: "pruned" (all are searched on, the strongest kept at the end), "fixed" (two
        for each node, see `CellSpace.fixed`) or "searched" (by pairs, before the
        operators).

    Raises:
      UserError: the algorithm has stages or a relaxation of its own.
    """
    if edges == "pruned":
        return algorithm
    if len(algorithm.stages) > 1:
        raise UserError(
            f"config.space.edges is {edges!r}, but this search has stages of its own; "
            'leave it "pruned".'
        )
    if edges == "fixed":
        return algorithm._replace(stages=(Stage(space=_fixed),))
    if algorithm.relaxation is not softmax:
        raise UserError(
            "This search mixes edges and operators in its own way and cannot search edges "
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
    if previous is None:  # not searched yet: as many edges as there will be
        return space.fixed()
    return space.keep({k: [(s, t) for s, t in own] for k, own in previous.items()})


def _pairs(arch, space: CellSpace):
    strongest = strongest_pairs(arch, space)
    return {kind: [list(edge) for edge in own] for kind, own in strongest.items()}
