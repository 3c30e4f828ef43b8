"""The stages of a search: what each searches on, and what it hands to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from nasjax import relax
from nasjax.genotype import discretise
from nasjax.search import Problem, Search
from nasjax.spaces import CellSpace

EDGES = ("pruned", "fixed", "searched")


class Stage(NamedTuple):
    """One search of several, each from scratch.

    Attributes:
      name: of its phase.
      begin: (outcome of the stage before, or None) -> (Problem, Search).
      outcome: what its result is called: "genotype" for the last stage.
      finish: (Search, CellSpace, arch) -> that result, as JSON.
    """

    name: str
    begin: Callable[[Any], tuple[Problem, Search]]
    outcome: str
    finish: Callable[[Search, CellSpace, Mapping], Any]


def stages(edges: str, space: CellSpace, build: Callable) -> tuple[Stage, ...]:
    """One stage, or two where the edges are searched before the operators.

    Args:
      edges: "pruned" (all are searched on, the strongest kept at the end), "fixed" or
        "searched" (Amended-DARTS, arXiv 1910.11831, section 3.1.2).
      space: with all edges.
      build: (space, relaxation, initial) -> (Problem, Search), initial being
        (space, spread) -> (key -> arch).
    """
    if edges == "pruned":
        return (_operators(lambda kept: space, build),)
    if edges == "fixed":
        return (_operators(lambda kept: space.fixed(), build),)

    def first(previous):
        del previous
        return build(space, relax.paired_edges(space), relax.initial_pairs)

    def kept(search, space, arch):
        strongest = relax.strongest_pairs(arch, space)
        return {kind: [list(edge) for edge in own] for kind, own in strongest.items()}

    def on(previous) -> CellSpace:
        if previous is None:  # not known yet: as many edges as there will be
            return space.fixed()
        return space.keep({k: [(s, t) for s, t in own] for k, own in previous.items()})

    return Stage("edges", first, "edges", kept), _operators(on, build)


def _operators(on: Callable[[Any], CellSpace], build: Callable) -> Stage:
    def finish(search, space, arch):
        return discretise(jax.device_get(search.mix(arch)), space).to_json()

    begin = lambda previous: build(on(previous), relax.softmax, relax.initial_alpha)
    return Stage("search", begin, "genotype", finish)
