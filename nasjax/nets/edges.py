"""The edges of a cell, one after the other, by one compiled body."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.custom_derivatives import SymbolicZero

from nasjax.nets import nodes as buffer

Edge = Callable  # (params, stats, x, weights [O], path [B] or None) -> (y, stats)


def along(edges: Sequence[tuple[int, int]], edge: Edge, keep: bool) -> Callable:
    """A function that lets every edge add its output to its target.

    Args:
      edges: (source, target), every source complete before it is read.
      edge: what all of them compute, each with its own params, stats and weights.
      keep: keep what the gradient needs. Otherwise an edge is computed again for its
        gradient, from its source as the last edge leaves it: nothing is stored.

    Returns:
      (nodes [V, ...], inputs, params, weights [E, O], stats, paths [E, B] or None) ->
      (nodes, stats), where the leaves of params and stats lead with [E]. Sources are
      rows of `inputs`, or of `nodes` where that is None.
    """
    source, target = np.asarray(edges, np.int32).T

    def add_all(nodes, inputs, params, weights, stats, paths):
        def body(states, each):
            params, weights, stats, path, source, target = each
            states, x = _read(states, source)
            y, stats = edge(params, stats, x, weights, path)
            return (buffer.add(states[0], target, y), states[1]), stats

        each = params, weights, stats, paths, source, target
        (nodes, _), stats = lax.scan(body, (nodes, inputs), each)
        return nodes, stats

    if keep:
        return add_all
    recomputed = jax.custom_jvp(add_all)

    def jvp(primals, tangents):
        out = recomputed(*primals)
        nodes, inputs, params, weights, stats, paths = primals
        seen = out[0] if inputs is None else inputs
        moved = [_dense(*pair) for pair in zip(primals[:4], tangents[:4], strict=True)]
        zeros = jax.tree.map(jnp.zeros_like, out[1])
        if all(tangent is None for tangent in moved):
            return out, (jnp.zeros_like(nodes), zeros)
        to_nodes, to_inputs, *to_each = moved
        if to_nodes is None:
            to_nodes = jnp.zeros_like(nodes)
        if inputs is not None and to_inputs is None:
            to_inputs = jnp.zeros_like(inputs)

        @functools.partial(jax.checkpoint, prevent_cse=False)
        def product(seen, dx, each, d_each):
            params, weights, stats, path, source, _ = each
            given = seen[source], params, weights
            ways = [i for i, d in enumerate((dx, *d_each)) if d is not None]

            def moving(*some):
                x, params, weights = _replaced(given, ways, some)
                return edge(params, stats, x, weights, path)[0]

            tangents = [(dx, *d_each)[i] for i in ways]
            return jax.jvp(moving, [given[i] for i in ways], tangents)[1]

        def body(states, both):
            each, d_each = both
            states, dx = _read(states, each[4])
            dy = product(seen, dx, each, d_each)
            return (buffer.add(states[0], each[5], dy), states[1]), None

        each = params, weights, stats, paths, source, target
        (to_nodes, _), _ = lax.scan(body, (to_nodes, to_inputs), (each, to_each))
        return out, (to_nodes, zeros)

    recomputed.defjvp(jvp, symbolic_zeros=True)
    return recomputed


def _read(states, source):
    """The row `source` of the inputs if there are any, else of the nodes."""
    nodes, inputs = states
    if inputs is None:
        nodes, x = buffer.read(nodes, source)
    else:
        inputs, x = buffer.read(inputs, source)
    return (nodes, inputs), x


def _replaced(given, ways, some):
    given = list(given)
    for way, value in zip(ways, some, strict=True):
        given[way] = value
    return given


def _dense(primal, tangent):
    """A tangent with arrays for its symbolic zeros, or None where it is nothing else."""
    leaves = jax.tree.leaves(tangent, is_leaf=_is_zero)
    if all(map(_is_zero, leaves)):
        return None
    fill = lambda t, p: jnp.zeros_like(p) if _is_zero(t) else t
    return jax.tree.map(fill, tangent, primal, is_leaf=_is_zero)


def _is_zero(tangent) -> bool:
    return isinstance(tangent, SymbolicZero)
