"""The two cells: mixed (every primitive on every edge) and fixed (a genotype's)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nasjax.nets.edges import EdgeFactory, Mixed, edge_function
from nasjax.nets.layers import FactorizedReduce, ReLUConvBN, Style
from nasjax.nets.operations import NO_DRAWS, dropped, operation, output
from nasjax.nets.scan_edges import along
from nasjax.spaces import CellPlan, CellSpace


class Run(NamedTuple):
    """Edges of a cell with the same stride and operations, in an order of computation.

    Attributes:
      name: name of their parameters.
      stride: 2 for edges that leave an input of a reduction cell, else 1.
      operations: the operations on every edge.
      rows: indices of the edges in the cell.
    """

    name: str
    stride: int
    operations: tuple[str, ...]
    rows: tuple[int, ...]


def runs(space: CellSpace, kind: str, reduces: bool) -> tuple[Run, ...]:
    """The edges of a cell, split into few runs. Every run has a separate compiled body.

    The longest possible run is removed repeatedly from the remaining edges. An edge can
    be computed once all edges into its source have been computed.

    >>> from nasjax.spaces import SPACES
    >>> [len(run.rows) for run in runs(SPACES["darts"], "reduce", True)]
    [8, 6]
    >>> len(runs(SPACES["s1"], "normal", False))
    6
    """
    edges, choices = space.edges_of(kind), space.choices(kind)
    alike = [
        (2 if reduces and source < space.inputs else 1, names)
        for (source, _), names in zip(edges, choices, strict=True)
    ]
    left, found = set(range(len(edges))), []
    while left:
        options: list[tuple[tuple, tuple[int, ...]]] = []
        for key in dict.fromkeys(alike[row] for row in sorted(left)):
            rest, taken = set(left), []
            for row in sorted(left):
                waiting = any(edges[other][1] == edges[row][0] for other in rest)
                if alike[row] == key and not waiting:
                    rest.remove(row)
                    taken.append(row)
            options.append((key, tuple(taken)))
        key, rows = max(options, key=lambda option: len(option[1]))
        left -= set(rows)
        found.append((key, rows))
    named: list[Run] = []
    for (stride, names), rows in found:
        name = "strided" if stride == 2 else "edges"
        if sum(key[0] == stride for key, _ in found) > 1:
            name += f"_{len(named)}"
        named.append(Run(name, stride, names, rows))
    return tuple(named)


class MixedCell(nn.Module):
    """A supernet cell. One compiled body computes all edges of a run.

    The edges are arguments, like the weights. Cells with different edges and the same
    runs therefore share one module.
    """

    space: CellSpace
    plan: CellPlan
    runs: tuple[Run, ...]
    style: Style
    function: Callable = edge_function  # a cached function lets cells share one trace
    edge: EdgeFactory = Mixed

    @nn.compact
    def __call__(self, s0: Array, s1: Array, weights, edges, draws, train: bool):
        """weights: `Weights`, leaves [E, ...]; edges [E, 2]; draws [E, B]."""
        inputs = jnp.stack(_preprocess(self.plan, self.style, s0, s1, train))
        if self.plan.type == "reduce":
            _, height, channels, width, batch = inputs.shape
            halved = (-(-height // 2), channels, -(-width // 2), batch)
            count = self.space.inputs + self.space.nodes
            nodes = jnp.zeros((count, *halved), inputs.dtype)
        else:
            nodes = jnp.pad(inputs, ((0, self.space.nodes), *[(0, 0)] * 4))
        given = weights, edges, draws
        for run in self.runs:
            rows = np.array(run.rows)
            own = given
            if len(self.runs) > 1:
                own = jax.tree.map(lambda leaf, rows=rows: leaf[rows], given)
            source = inputs if run.stride == 2 else None
            nodes = self._along(run, nodes, source, *own, train)
        return jnp.concatenate([nodes[i] for i in self.space.concat], 1)

    def _along(self, run: Run, nodes, inputs, weights, edges, draws, train: bool):
        """Adds the outputs of a run of edges to their targets in nodes
        [V, H, C, W, B]."""
        edge = self.edge(run.operations, self.plan.channels, run.stride, self.style)
        edge = edge.clone(parent=None, name=None)  # detached, to compare equal
        name = run.name
        if self.is_initializing():
            x = (nodes if inputs is None else inputs)[0]
            keys = jax.random.split(self.make_rng("params"), len(run.rows))
            first = jax.tree.map(lambda leaf: leaf[0], weights)
            init = lambda key: edge.init(key, x, first, True, NO_DRAWS)
            fresh = jax.vmap(init)(keys)
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
            draws,
            edges,
        )
        if train and stats:
            self.put_variable("batch_stats", name, stats)
        return nodes


class FixedCell(nn.Module):
    """A cell of a genotype: pairs of (operation, source)."""

    pairs: tuple[tuple[str, int], ...]
    space: CellSpace
    plan: CellPlan
    style: Style

    @nn.compact
    def __call__(self, s0: Array, s1: Array, weights, edges, draws, train: bool):
        """weights, edges: unused; draws [pairs, B]."""
        states = _preprocess(self.plan, self.style, s0, s1, train)
        inputs, targets = self.space.inputs, self.space.targets
        for node in self.space.intermediate:
            total: Any = 0.0
            for index in (i for i, target in enumerate(targets) if target == node):
                name, source = self.pairs[index]
                stride = 2 if self.plan.type == "reduce" and source < inputs else 1
                op = operation(name)(self.plan.channels, stride, self.style)
                own = jax.tree.map(lambda leaf, index=index: leaf[index], draws)
                y = output(op, states[source], train, own)
                if not (name == "skip_connect" and stride == 1):
                    y = dropped(y, own)
                total += y
            states.append(total)
        return jnp.concatenate([states[i] for i in self.space.concat], 1)


def _preprocess(plan: CellPlan, style: Style, s0: Array, s1: Array, train: bool):
    """Both inputs, brought to the width and map size of the cell.

    Without `plan.shrink`, the last input unchanged.
    """
    if not plan.shrink:
        return [s1]
    layers = {1: ReLUConvBN, 2: FactorizedReduce}
    return [
        layers[shrink](plan.channels, style, name=f"preprocess_{i}")(s, train)
        for i, (s, shrink) in enumerate(zip((s0, s1), plan.shrink, strict=True))
    ]
