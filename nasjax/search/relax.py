"""Relaxations: from raw architecture parameters to mixing weights.

A relaxation is a function (arch, key) -> mix. Both are dictionaries by cell type; the
mixing weights of a type have shape [E, O] and multiply the primitives of every edge.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nasjax.spaces import CellSpace, Edge

Arch = dict[str, Array]
Mix = dict[str, Array]
Relaxation = Callable[[Any, Any], Mix]  # (arch, key) -> mix


def softmax(arch: Arch, key: Array | None = None) -> Mix:
    """Softmax over the operator axis (DARTS eq. 2). No randomness: the key is unused.

    >>> softmax({"normal": jnp.zeros((1, 4))})["normal"].tolist()
    [[0.25, 0.25, 0.25, 0.25]]
    """
    del key
    return jax.tree.map(lambda a: jax.nn.softmax(a, axis=-1), arch)


def identity(arch: Arch, key: Array | None = None) -> Mix:
    """The architecture parameters are the mixing weights."""
    del key
    return arch


def initial_alpha(space: CellSpace, spread: float) -> Callable[[Array], Arch]:
    """key -> alpha of spread * N(0, 1), [E, O] for every cell type (DARTS: 1e-3)."""

    def init(key: Array) -> Arch:
        keys = jax.random.split(key, len(space.types))
        return {
            kind: spread * jax.random.normal(k, space.alpha_shape(kind))
            for kind, k in zip(space.types, keys, strict=True)
        }

    return init


def initial_pairs(space: CellSpace, spread: float) -> Callable[[Array], Arch]:
    """key -> alpha and beta of spread * N(0, 1), for `paired_edges`."""
    count = sum(len(group) for group in pairs(space))

    def init(key: Array) -> Arch:
        own, rest = jax.random.split(key)
        beta = spread * jax.random.normal(rest, (len(space.types), count))
        named = {f"{kind}_pairs": b for kind, b in zip(space.types, beta, strict=True)}
        return initial_alpha(space, spread)(own) | named

    return init


def paired_edges(space: CellSpace) -> Relaxation:
    """Edge search of Amended-DARTS: softmax over operators times that over input pairs.

        y_j = sum over pairs i1 < i2 < j of softmax(beta)_{i1, i2} (y_i1 + y_i2)

    with y_i what edge (i, j) brings (arXiv 1910.11831, eq. 16). So the weight of an
    edge is that of all pairs that hold it. beta of a cell type is
    arch[type + "_pairs"], [P] in the order of `pairs`.
    """

    def relaxation(arch: Arch, key: Array | None = None) -> Mix:
        del key
        mix = {}
        for kind in space.types:
            weight = [jnp.zeros(())] * len(space.edges)
            start = 0
            for group in pairs(space):
                beta = arch[f"{kind}_pairs"][start : start + len(group)]
                start += len(group)
                for pair, share in zip(group, jax.nn.softmax(beta), strict=True):
                    for edge in pair:
                        index = space.edges.index(edge)
                        weight[index] = weight[index] + share
            mix[kind] = jax.nn.softmax(arch[kind], axis=-1) * jnp.stack(weight)[:, None]
        return mix

    return relaxation


def pairs(space: CellSpace) -> tuple[tuple[tuple[Edge, Edge], ...], ...]:
    """For every node the pairs of edges that may enter it: 1, 3, 6 and 10 in DARTS.

    >>> from nasjax.spaces import darts
    >>> [len(group) for group in pairs(darts())]
    [1, 3, 6, 10]
    """
    into = [[e for e in space.edges if e[1] == node] for node in space.intermediate]
    return tuple(tuple(itertools.combinations(edges, 2)) for edges in into)


def strongest_pairs(
    arch: Mapping[str, np.ndarray], space: CellSpace
) -> dict[str, list[Edge]]:
    """The edges that an edge search keeps: of every node the pair with the largest beta.

    Returns:
      cell type -> (source, target), two for each node.
    """
    kept = {}
    for kind in space.types:
        groups, beta = pairs(space), np.asarray(arch[f"{kind}_pairs"])
        ends = np.cumsum([len(group) for group in groups])
        parts = zip(groups, np.split(beta, ends[:-1]), strict=True)
        kept[kind] = [edge for group, part in parts for edge in group[part.argmax()]]
    return kept


def discretised(space: CellSpace) -> Relaxation:
    """The genotype of mixing weights, as one-hot mixing weights: `genotype.discretise`
    for programs. No derivative passes through it.

    >>> from nasjax.spaces import darts
    >>> space = darts(("none", "skip_connect"))._replace(nodes=1, picks=1, types=("a",))
    >>> discretised(space)({"a": jnp.array([[0.9, 0.1], [0.5, 0.5]])})["a"].tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """

    def relaxation(mix: Mix, key: Array | None = None) -> Mix:
        del key
        chosen = {}
        for kind in space.types:
            weights = jnp.where(np.array(space.real(kind)), mix[kind], -jnp.inf)
            kept = _strongest(weights.max(1), space, kind)
            best = jax.nn.one_hot(weights.argmax(1), weights.shape[1])
            chosen[kind] = kept[:, None] * best
        return chosen

    return relaxation


def uniform_architecture(space: CellSpace) -> Relaxation:
    """One-hot mixing weights of an architecture drawn uniformly; arch is not read.

    Every node keeps `picks` distinct incoming edges, every kept edge one primitive that
    a genotype may hold: in the DARTS space any but `none`.
    """

    def sample(kind: str, key: Array) -> Array:
        edge_key, op_key = jax.random.split(key)
        allowed = np.array(space.real(kind))
        edges, operations = allowed.shape
        kept = _strongest(jax.random.uniform(edge_key, (edges,)), space, kind)
        logits = jnp.where(allowed, 0.0, -jnp.inf)
        ops = jax.random.categorical(op_key, logits)
        return kept[:, None] * jax.nn.one_hot(ops, operations)

    def relaxation(arch: Arch | None, key: Array) -> Mix:
        del arch
        keys = jax.random.split(key, len(space.types))
        return {
            kind: sample(kind, k) for kind, k in zip(space.types, keys, strict=True)
        }

    return relaxation


def _strongest(strength: Array, space: CellSpace, kind: str) -> Array:
    """Which edges [E] a genotype keeps: `picks` of each node, of equals the first."""
    order = np.arange(len(strength))
    targets = np.array([target for _, target in space.edges_of(kind)])
    rivals = targets[None, :] == targets[:, None]
    equal = strength[None, :] == strength[:, None]
    ahead = (strength[None, :] > strength[:, None]) | (
        equal & (order[None, :] < order[:, None])
    )
    return (ahead & rivals).sum(1) < space.picks
