"""Edges of a supernet. Any flax module can replace `Mixed`.

An edge is built by a factory (primitives, channels, stride, style) and called with
(x [H, C, W, B], weights, train, draws). `weights` are the weights of this edge: ops
[O], and edges, a scalar or None. `draws` are as in `nasjax.nets.operations.output`.
An edge that draws has a class attribute `random = True`; then draws.seeds are uint32
[B], different for every example, edge and cell, and None in evaluation without keys.
With stride 2 a map of side n becomes a map of side ceil(n / 2). Edges with equal
modules share one trace.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from nasjax.nets.layers import Style
from nasjax.nets.operations import NO_DRAWS, Draws, dropped, operation, output
from nasjax.spaces.mix import Weights

EdgeFactory = Callable[[tuple[str, ...], int, int, Style], nn.Module]


class Mixed(nn.Module):
    """The sum over primitives o of ops[o] * o(x) (DARTS eq. 2, after the softmax),
    times the weight of the edge if there is one."""

    primitives: tuple[str, ...]
    channels: int
    stride: int
    style: Style

    @nn.compact
    def __call__(
        self, x: Array, weights: Weights, train: bool, draws: Draws = NO_DRAWS
    ) -> Array:
        total = jnp.zeros((), x.dtype)
        ops = weights.ops.astype(x.dtype)
        for index, name in enumerate(self.primitives):
            if name != "none":
                op = operation(name)(self.channels, self.stride, self.style)
                y = output(op, x, train, draws)
                total = total + ops[index] * y.astype(x.dtype)
        if total.ndim == 0:  # `none` is the only primitive
            total = jnp.zeros_like(x[:: self.stride, :, :: self.stride])
        if weights.edges is not None:
            total = total * weights.edges.astype(x.dtype)
        return total


def edge_function(edge: nn.Module, train: bool) -> Callable:
    """The edge as a pure function that is traced once for each shape."""

    @jax.jit
    def apply(params, stats, x, weights, draws):
        variables = {"params": params, "batch_stats": stats}
        run = functools.partial(edge.apply, variables, x, weights, train, draws)
        if train:
            y, updated = run(mutable="batch_stats")
            stats = updated.get("batch_stats", stats)
        else:
            y = run()
        return dropped(y, draws), stats

    return apply
