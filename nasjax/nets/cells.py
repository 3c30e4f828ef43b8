"""The two cells: mixed (every primitive on every edge) and fixed (a genotype's)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nasjax.nets.edges import along
from nasjax.nets.operations import (
    OPERATIONS,
    FactorizedReduce,
    ReLUConvBN,
    Style,
)
from nasjax.spaces import CellPlan, CellSpace, Edge


class MixedEdge(nn.Module):
    """Sum over primitives o of weights[o] * o(x) (DARTS eq. 2, after the softmax)."""

    primitives: tuple[str, ...]
    channels: int
    stride: int
    style: Style

    @nn.compact
    def __call__(self, x: Array, weights: Array, train: bool) -> Array:
        total = jnp.zeros((), x.dtype)
        weights = weights.astype(x.dtype)
        for index, name in enumerate(self.primitives):
            if name != "none":
                op = OPERATIONS[name](self.channels, self.stride, self.style)
                total = total + weights[index] * op(x, train).astype(x.dtype)
        if total.ndim == 0:  # `none` is all there is
            total = jnp.zeros_like(x[:: self.stride, :, :: self.stride])
        return total


def edge_function(edge: MixedEdge, train: bool) -> Callable:
    """An edge as a pure function that is traced once for each shape."""

    @jax.jit
    def apply(params, stats, x, weights, path):
        variables = {"params": params, "batch_stats": stats}
        if train:
            y, updated = edge.apply(variables, x, weights, True, mutable="batch_stats")
            stats = updated.get("batch_stats", stats)
        else:
            y = edge.apply(variables, x, weights, False)
        return y if path is None else y * path[None, None, None].astype(y.dtype), stats

    return apply


class MixedCell(nn.Module):
    """A supernet cell. Its edges are alike, so one compiled body serves all of them.

    A reduction cell has to know its edges beforehand: those that leave an input stride
    by 2. A normal cell gets them with its weights: cells with other edges are alike.
    """

    space: CellSpace
    plan: CellPlan
    edges: tuple[Edge, ...] | None
    style: Style
    function: Callable = edge_function  # a cached one lets cells share what is traced

    @nn.compact
    def __call__(self, s0: Array, s1: Array, weights, edges, paths, train: bool):
        """weights [E, O]; edges [E, 2]; paths [E, B] scales each edge's output, or
        None."""
        inputs = jnp.stack(_preprocess(self.plan, self.style, s0, s1, train))
        add = functools.partial(self._along, weights, edges, paths, train)
        if self.edges is None:
            nodes = jnp.pad(inputs, ((0, self.space.nodes), *[(0, 0)] * 4))
            nodes = add("edges", slice(None), 1, nodes, None)
        else:
            early = np.array(self.edges)[:, 0] < self.space.inputs
            _, height, channels, width, batch = inputs.shape
            halved = (-(-height // 2), channels, -(-width // 2), batch)
            count = self.space.inputs + self.space.nodes
            nodes = jnp.zeros((count, *halved), inputs.dtype)
            nodes = add("strided", np.flatnonzero(early), 2, nodes, inputs)
            if not early.all():
                nodes = add("edges", np.flatnonzero(~early), 1, nodes, None)
        return jnp.concatenate([nodes[i] for i in self.space.concat], 1)

    def _along(self, weights, edges, paths, train, name, which, stride, nodes, inputs):
        """Add what some of the edges bring to their targets in nodes [V, H, C, W, B]."""
        weights, edges = weights[which], edges[which]
        edge = MixedEdge(
            self.space.primitives, self.plan.channels, stride, self.style, parent=None
        )
        if self.is_initializing():
            x = (nodes if inputs is None else inputs)[0]
            keys = jax.random.split(self.make_rng("params"), len(weights))
            fresh = jax.vmap(lambda key: edge.init(key, x, weights[0], True))(keys)
            for collection, values in fresh.items():
                self.put_variable(collection, name, values)
            return nodes
        add_all = along(self.function(edge, train), keep=self.style.remat == "none")
        nodes, stats = add_all(
            nodes,
            inputs,
            self.get_variable("params", name, {}),
            weights,
            self.get_variable("batch_stats", name, {}),
            None if paths is None else paths[which],
            edges,
        )
        if train and stats:
            self.put_variable("batch_stats", name, stats)
        return nodes


class FixedCell(nn.Module):
    """A cell of a genotype: pairs of (operation, source), `picks` to a node."""

    pairs: tuple[tuple[str, int], ...]
    concat: tuple[int, ...]
    nodes: int
    plan: CellPlan
    style: Style

    @nn.compact
    def __call__(self, s0: Array, s1: Array, weights, edges, paths, train: bool):
        """weights, edges: unused; paths [pairs, B] scales each operation's output."""
        states = _preprocess(self.plan, self.style, s0, s1, train)
        picks = len(self.pairs) // self.nodes
        for node in range(self.nodes):
            total = 0.0
            for index in range(node * picks, (node + 1) * picks):
                name, source = self.pairs[index]
                stride = 2 if self.plan.type == "reduce" and source < 2 else 1
                op = OPERATIONS[name](self.plan.channels, stride, self.style)
                y = op(states[source], train)
                if paths is not None and not (name == "skip_connect" and stride == 1):
                    y = y * paths[index][None, None, None].astype(y.dtype)
                total = total + y
            states.append(total)
        return jnp.concatenate([states[i] for i in self.concat], 1)


def _preprocess(plan: CellPlan, style: Style, s0: Array, s1: Array, train: bool):
    """Bring both inputs to the cell's width and map size."""
    layers = {1: ReLUConvBN, 2: FactorizedReduce}
    return [
        layers[shrink](plan.channels, style, name=f"preprocess_{i}")(s, train)
        for i, (s, shrink) in enumerate(zip((s0, s1), plan.shrink, strict=True))
    ]
