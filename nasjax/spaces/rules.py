"""The rule that reads an architecture off mixing weights; architectures at random.

An architecture is a `Genotype` on the host and a one-hot `Mix` in programs. `choose`
alone defines which architecture mixing weights give; it takes numpy arrays and jax
arrays, traced or not. The rule is from Liu, Simonyan, Yang, "DARTS: Differentiable
Architecture Search", ICLR 2019, arXiv 1806.09055, section 2.4.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nasjax.core.errors import UserError, unknown
from nasjax.spaces.cells import CellSpace
from nasjax.spaces.genotype import Genotype, check
from nasjax.spaces.mix import Mix, Weights, strength

if TYPE_CHECKING:
    from jax import Array


def choose(mix: Mix, space: CellSpace, most_skips: int | None = None) -> Mix:
    """The DARTS rule: per node the `picks` strongest edges, on each its best operation.

    The strength of an edge is its largest entry of `strength`. `none` counts neither
    for an edge's strength nor as its operation, except in a space whose genotypes may
    hold it. Ties between edges go to the lower source, ties between operations to the
    lower index. No derivative passes through the rule.

    Args:
      mix: cell type -> `Weights` (alpha AFTER the softmax), none negative.
      space: the space whose edges and primitives index the weights.
      most_skips: most skip connections that a normal cell keeps. While it has more, the
        weakest is removed and the rule applied again (P-DARTS, arXiv 1904.12760,
        section 3.3). A skip stays where nothing else is left.

    Returns:
      cell type -> `Weights` of ops [E, O] alone, in the dtype of the given ops: 1 at
      the operation of every kept edge, else 0.

    >>> from nasjax.spaces import darts
    >>> space = darts(("none", "skip_connect"))._replace(nodes=1, picks=1, types=("a",))
    >>> ops = np.array([[0.9, 0.1], [0.5, 0.5]])
    >>> choose({"a": Weights(ops)}, space)["a"].ops.tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    limited = most_skips is not None and most_skips < len(space.targets)
    chosen: Mix = {}
    for kind in space.types:
        given: Any = mix[kind].ops
        scaled: Any = strength(mix[kind])
        where = scaled.__array_namespace__().where
        real = _real(space, kind)
        ops, scaled = where(real, given, -np.inf), where(real, scaled, -np.inf)
        picked = _picked(ops, scaled, space, kind)
        if limited and space.role(kind) == "normal":
            skip = np.array(space.choices(kind)) == "skip_connect"
            for _ in range(len(skip)):  # removes one, or again one that has to stay
                skips = picked & skip
                weakest = scaled == where(skips, scaled, np.inf).min()
                taken = _first(skips & weakest) & (skips.sum() > most_skips)
                ops, scaled = where(taken, -1.0, ops), where(taken, -1.0, scaled)
                picked = _picked(ops, scaled, space, kind)
        chosen[kind] = Weights(picked.astype(given.dtype))
    return chosen


def decode(chosen: Mix, mix: Mix, space: CellSpace) -> Genotype:
    """The genotype of chosen operations.

    A node's pairs are ordered from the strongest to the weakest, equal ones by source.
    In a space that keeps all edges they are ordered by source alone.

    Args:
      chosen: cell type -> `Weights`; every entry of ops [E, O] above 0 is a pair.
      mix: the weights they were chosen by; `strength` of these orders the pairs.
      space: the space whose edges and primitives index both.
    """
    cells = {}
    for kind in space.types:
        held, by = np.asarray(chosen[kind].ops) > 0, np.asarray(strength(mix[kind]))
        edges, names, pairs = space.edges_of(kind), space.choices(kind), []
        for node in space.intermediate:
            into = [(e, o) for e, o in np.argwhere(held) if edges[e][1] == node]
            if space.prunes:
                into.sort(key=lambda at: -by[at])
            pairs += [(names[e][o], edges[e][0]) for e, o in into]
        cells[kind] = tuple(pairs)
    return Genotype(space.name, cells, space.concat)


def discretise(
    mix: Mix,
    space: CellSpace,
    most_skips: int | None = None,
    rule: Callable[[Mix, CellSpace, int | None], Mix] = choose,
) -> Genotype:
    """The genotype that a rule reads off mixing weights of numpy or jax arrays.

    Args:
      mix: as for `choose`.
      space: as for `choose`.
      most_skips: as for `choose`.
      rule: the rule, with the signature of `choose`.

    Raises:
      UserError: weights are missing, of another shape or not finite.
    """
    mix = {kind: _checked(mix, space, kind) for kind in space.types}
    return decode(rule(mix, space, most_skips), mix, space)


def one_hot(genotype: Genotype, space: CellSpace) -> Mix:
    """The mixing weights that make a supernet compute the genotype's cells.

    Returns:
      cell type -> `Weights` of numpy float32 ops [E, O]: 1 at every chosen (edge,
      operation), else 0. Two operations from one source to one node are two ones in
      that row; the same pair twice is a 2.

    Raises:
      UserError: the genotype is not in the space.
    """
    check(genotype, space)
    mix: Mix = {}
    for name in space.types:
        ops: Any = np.zeros(space.alpha_shape(name), np.float32)
        for (op, source), node in zip(genotype.cells[name], space.targets, strict=True):
            edge = space.edges_of(name).index((source, node))
            ops[edge, space.operations(name, (source, node)).index(op)] += 1
        mix[name] = Weights(ops)
    return mix


def random_genotype(seed: int | Sequence[int], space: CellSpace) -> Genotype:
    """A genotype drawn uniformly: distinct sources per node, and allowed operations.

    The same seed, of numpy's `default_rng`, gives the same genotype. Li, Talwalkar,
    "Random Search and Reproducibility for Neural Architecture Search", UAI 2019, arXiv
    1902.07638.
    """
    random = np.random.default_rng(seed)
    cells = {}
    for name in space.types:
        pairs, edges, real = [], space.edges_of(name), _real(space, name)
        for node in space.intermediate:
            into = [row for row, (_, target) in enumerate(edges) if target == node]
            picks = space.targets.count(node)
            for row in np.sort(random.choice(into, picks, replace=False)):
                op = random.choice(np.flatnonzero(real[row]))
                pairs.append((space.operations(name, edges[row])[op], edges[row][0]))
        cells[name] = tuple(pairs)
    return Genotype(space.name, cells, space.concat)


_ATTEMPTS = 100  # to draw a genotype that has not been drawn


def random_genotypes(
    seed: int, space: CellSpace, count: int, besides: Sequence[Genotype] = ()
) -> list[Genotype]:
    """Genotypes drawn by `random_genotype`, distinct unless the space has too few.

    The first is `random_genotype(seed, space)`. Another genotype is drawn only instead
    of one that equals `besides` or an earlier one, up to the order of a node's pairs.

    >>> from nasjax.spaces import darts
    >>> len(set(random_genotypes(0, darts(), 3)))
    3
    """
    found: list[Genotype] = []
    seen = {_sorted(genotype, space) for genotype in besides}
    for index in range(count):
        for attempt in range(_ATTEMPTS):
            where = [seed, index, attempt] if index or attempt else seed
            drawn = random_genotype(where, space)
            if _sorted(drawn, space) not in seen:
                break
        seen.add(_sorted(drawn, space))
        found.append(drawn)
    return found


def _sorted(genotype: Genotype, space: CellSpace) -> Hashable:
    """Equal for genotypes that differ in the order of a node's pairs alone."""
    return frozenset(
        (kind, tuple(sorted(zip(space.targets, pairs, strict=False))))
        for kind, pairs in genotype.cells.items()
    )


def draw(key: Array, space: CellSpace) -> Mix:
    """One-hot mixing weights of an architecture drawn uniformly, float32, by jax.

    Every node keeps `picks` distinct incoming edges. Every kept edge holds one
    operation that a genotype may hold: in the DARTS space any but `none`.
    """
    import jax  # here, because tables are read without jax

    def sample(kind: str, key: Array) -> Weights:
        edge_key, op_key = jax.random.split(key)
        real = _real(space, kind)
        edges, operations = real.shape
        kept = _kept(jax.random.uniform(edge_key, (edges,)), space, kind)
        logits = jax.numpy.where(real, 0.0, -np.inf)
        ops = jax.random.categorical(op_key, logits)
        return Weights(kept[:, None] * jax.nn.one_hot(ops, operations))

    keys = jax.random.split(key, len(space.types))
    return {kind: sample(kind, k) for kind, k in zip(space.types, keys, strict=True)}


def _picked(ops: Any, scaled: Any, space: CellSpace, kind: str) -> Any:
    """Mask [E, O] of the rule's choices: by ops on an edge, by scaled between edges."""
    best = ops.argmax(1)[:, None] == np.arange(ops.shape[1])[None]
    return best & _kept(scaled.max(1), space, kind)[:, None]


def _kept(by: Any, space: CellSpace, kind: str) -> Any:
    """Mask [E] of the edges a genotype keeps: `picks` per node, the first of ties."""
    order = np.arange(len(by))
    targets = np.array([target for _, target in space.edges_of(kind)])
    rivals = targets[None, :] == targets[:, None]
    equal = by[None, :] == by[:, None]
    ahead = (by[None, :] > by[:, None]) | (equal & (order[None, :] < order[:, None]))
    return (ahead & rivals).sum(1) < space.picks


def _first(held: Any) -> Any:
    """Mask [E, O] of the first true entry alone."""
    at = held.reshape(-1).argmax()
    return held & (np.arange(held.size).reshape(held.shape) == at)


def _checked(mix: Mix, space: CellSpace, kind: str) -> Weights:
    """The ops and edges of a cell type as numpy arrays."""
    shape = space.alpha_shape(kind)
    _real(space, kind)
    if kind not in mix:
        raise unknown("cell type in the mixing weights", kind, mix)
    ops: Any = np.asarray(mix[kind].ops)
    if ops.shape != shape:
        raise UserError(
            f"The mixing weights of cell {kind!r} have shape {ops.shape}, but "
            f"space {space.name!r} needs {shape}: [edges, primitives]."
        )
    edges: Any = None
    if mix[kind].edges is not None:
        edges = np.asarray(mix[kind].edges)
        if edges.shape != shape[:1]:
            raise UserError(
                f"The edge weights of cell {kind!r} have shape {edges.shape}, but "
                f"space {space.name!r} needs {shape[:1]}: [edges]."
            )
    if not all(np.isfinite(w).all() for w in (ops, edges) if w is not None):
        raise UserError(
            f"The mixing weights of cell {kind!r} are not finite, so they give no "
            "architecture; lower the architecture learning rate and search again."
        )
    return Weights(ops, edges)


def _real(space: CellSpace, kind: str) -> np.ndarray:
    """Mask [E, O] of the choices that a genotype may hold."""
    real = np.array(space.real(kind))
    if not real.any(1).all():
        raise UserError(
            f"Space {space.name!r} has an edge with no primitive besides 'none' (it "
            f"lists {', '.join(space.primitives) or 'nothing'}); give at least one, "
            "such as 'skip_connect'."
        )
    return real
