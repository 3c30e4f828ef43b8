"""The edges of a cell, computed one after the other by one compiled body."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from nasjax.nets.lowering import nodes as buffer


def along(edge: Callable, keep: bool) -> Callable:
    """A function that adds the output of every edge to the target of the edge.

    Args:
      edge: (params, stats, x, weights, draws) -> (y, stats), the computation of one
        edge. Every edge has separate params, stats, weights and draws.
      keep: True keeps the intermediate values that the gradient needs. False computes
        an edge again for its gradient, from the final value of its source, and stores
        nothing.

    Returns:
      (nodes [V, ...], inputs, params, weights, stats, draws, edges [E, 2]) ->
      (nodes, stats). The leaves of params, weights, stats and draws have a leading axis
      [E]. The columns of `edges` are source and target. A source is a row of `inputs`,
      or of `nodes` if `inputs` is None, and must be complete before it is read. The
      function is differentiable in its first four arguments. stats and draws are
      constants unless `keep`.
    """

    def add_all(nodes, inputs, params, weights, stats, draws, edges):
        def body(states, each):
            params, weights, stats, draws, (source, target) = each
            states, x = _read(states, source)
            y, stats = edge(params, stats, x, weights, draws)
            return (buffer.add(states[0], target, y), states[1]), stats

        each = params, weights, stats, draws, (edges[:, 0], edges[:, 1])
        (nodes, _), stats = lax.scan(body, (nodes, inputs), each)
        return nodes, stats

    if keep:
        return add_all
    recomputed = jax.custom_jvp(add_all)

    def jvp(primals, tangents):
        out, moments = recomputed(*primals)
        nodes, inputs, params, weights, stats, draws, edges = primals
        seen = out if inputs is None else inputs
        tree = jax.tree.structure((params, weights))
        d_leaves = jax.tree.leaves(tangents[2:4], is_leaf=_is_zero)
        moving = [i for i, leaf in enumerate(d_leaves) if not _is_zero(leaf)]
        d_each = [d_leaves[i] for i in moving]

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def product(seen, dx, each, d_each):
            params, weights, stats, draws, (source, _) = each
            leaves = jax.tree.leaves((params, weights))

            def at(x, moved):
                now = dict(enumerate(leaves)) | dict(zip(moving, moved, strict=True))
                params, weights = jax.tree.unflatten(tree, now.values())
                return edge(params, stats, x, weights, draws)[0]

            start = seen[source], [leaves[i] for i in moving]
            return jax.jvp(at, start, (dx, d_each))[1]

        def body(states, both):
            each, d_each = both
            *_, (source, target) = each
            states, dx = _read(states, source)
            dy = product(seen, dx, each, d_each)
            return (buffer.add(states[0], target, dy), states[1]), None

        start = tuple(
            _dense(*pair) for pair in zip(primals, tangents[:2], strict=False)
        )
        each = params, weights, stats, draws, (edges[:, 0], edges[:, 1])
        (d_nodes, _), _ = lax.scan(body, start, (each, d_each))
        return (out, moments), (d_nodes, jax.tree.map(jnp.zeros_like, moments))

    recomputed.defjvp(jvp, symbolic_zeros=True)
    return recomputed


def _read(states, source):
    """The row `source` of the inputs, or of the nodes if there are no inputs."""
    nodes, inputs = states
    if inputs is None:
        nodes, x = buffer.read(nodes, source)
    else:
        inputs, x = buffer.read(inputs, source)
    return (nodes, inputs), x


def _dense(primal, tangent):
    """A tangent with arrays instead of symbolic zeros."""
    fill = lambda t, p: jnp.zeros_like(p) if _is_zero(t) else t
    return jax.tree.map(fill, tangent, primal, is_leaf=_is_zero)


def _is_zero(leaf) -> bool:
    return isinstance(leaf, SymbolicZero)
