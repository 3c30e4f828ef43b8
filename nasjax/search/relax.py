"""Relaxations: from architecture parameters to mixing weights, and back to choices."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nasjax.search.perturb import project_simplex
from nasjax.spaces import CellSpace, Edge
from nasjax.spaces.mix import Mix
from nasjax.spaces.rules import choose, draw
from nasjax.tasks.base import At

Arch = dict[str, Array]


class Relaxation(NamedTuple):
    """A map from architecture parameters to mixing weights, on one space.

    Attributes:
      init: key -> arch, any pytree of arrays.
      mix: (arch, `At`) -> `Mix`.
      choose: (`Mix`, space, most_skips) -> one-hot `Mix` of the derived architecture,
        see `rules.choose`.
      project: operator weights [E, O] -> the nearest that this relaxation can have, see
        `perturb`.
      continuous: False if alpha is a one-hot `Mix`, in which losses have no slope.
    """

    init: Callable[[Array], Any]
    mix: Callable[[Any, At], Mix]
    choose: Callable[[Mix, CellSpace, int | None], Mix] = choose
    project: Callable = project_simplex
    continuous: bool = True


def softmax(space: CellSpace, spread: float = 1e-3) -> Relaxation:
    """Softmax over the operators of every edge (DARTS eq. 2).

    Args:
      space: the cell space.
      spread: standard deviation of the initial alpha, spread * N(0, 1).

    >>> from nasjax.spaces import SPACES
    >>> mix = softmax(SPACES["nasbench201"]).mix({"cell": jnp.zeros((6, 5))}, At())
    >>> mix["cell"].ops[0].round(3).tolist() == [jnp.float32(0.2)] * 5
    True
    """

    def mix(arch: Arch, at: At) -> Mix:
        del at
        return space.mix({name: jax.nn.softmax(arch[name]) for name in space.shapes()})

    return Relaxation(normal(space, spread), mix)


def normal(space: CellSpace, spread: float) -> Callable[[Array], Arch]:
    """The initialiser key -> alpha, spread * N(0, 1), [E, O] for every cell type.

    DARTS has a spread of 1e-3.
    """

    def init(key: Array) -> Arch:
        shapes = space.shapes()
        keys = jax.random.split(key, len(shapes))
        return {
            name: spread * jax.random.normal(k, shape)
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

    return init


def paired(space: CellSpace, spread: float = 1e-3) -> Relaxation:
    """Edge search of Amended-DARTS: operators by softmax, edges by input pairs.

        y_j = sum over pairs i1 < i2 < j of softmax(beta)_{i1, i2} (y_i1 + y_i2)

    with y_i the output of edge (i, j) (arXiv 1910.11831, eq. 16). The weight of an edge
    is therefore the sum of the weights of all pairs that contain the edge. beta of a
    cell type is arch[type + "_pairs"], [P] in the order of `pairs`.
    """
    groups = pairs(space)
    count = sum(map(len, groups))
    plain = softmax(space, spread)

    def init(key: Array) -> Arch:
        own, rest = jax.random.split(key)
        beta = spread * jax.random.normal(rest, (len(space.types), count))
        named = {f"{kind}_pairs": b for kind, b in zip(space.types, beta, strict=True)}
        return plain.init(own) | named

    def edges(beta: Array) -> Array:
        weight, start = [jnp.zeros(())] * len(space.edges), 0
        for group in groups:
            shares = jax.nn.softmax(beta[start : start + len(group)])
            start += len(group)
            for pair, share in zip(group, shares, strict=True):
                for edge in pair:
                    index = space.edges.index(edge)
                    weight[index] = weight[index] + share
        return jnp.stack(weight)

    def mix(arch: Arch, at: At) -> Mix:
        found = plain.mix(arch, at)
        return {
            kind: own._replace(edges=edges(arch[f"{kind}_pairs"]))
            for kind, own in found.items()
        }

    return plain._replace(init=init, mix=mix)


def pairs(space: CellSpace) -> tuple[tuple[tuple[Edge, Edge], ...], ...]:
    """For every node, the pairs of edges that may enter it: 1, 3, 6 and 10 in DARTS.

    >>> from nasjax.spaces import darts
    >>> [len(group) for group in pairs(darts())]
    [1, 3, 6, 10]
    """
    into = [[e for e in space.edges if e[1] == node] for node in space.intermediate]
    return tuple(tuple(itertools.combinations(edges, 2)) for edges in into)


def strongest_pairs(
    arch: Mapping[str, np.ndarray], space: CellSpace
) -> dict[str, list[Edge]]:
    """The edges that an edge search keeps: for every node the pair with largest beta.

    Returns:
      cell type -> edges (source, target), two for each node.
    """
    kept = {}
    for kind in space.types:
        groups, beta = pairs(space), np.asarray(arch[f"{kind}_pairs"])
        ends = np.cumsum([len(group) for group in groups])
        parts = zip(groups, np.split(beta, ends[:-1]), strict=True)
        kept[kind] = [edge for group, part in parts for edge in group[part.argmax()]]
    return kept


def uniform(space: CellSpace, spread: float = 0.0) -> Relaxation:
    """The relaxation of random search, whose arch is a one-hot `Mix`.

    With a key every pass draws an architecture uniformly. Without a key every pass uses
    arch.
    """
    del spread

    def mix(arch: Mix, at: At) -> Mix:
        return arch if at.key is None else draw(at.key, space)

    return Relaxation(lambda key: draw(key, space), mix, continuous=False)
