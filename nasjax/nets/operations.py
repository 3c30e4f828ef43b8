"""The primitives of the spaces as flax modules (DARTS, R-DARTS' noise, NAS-Bench-201).

A primitive is built by `OPERATIONS[name](channels, stride, style)` and called with
(x [H, C, W, B], train). To add a primitive, write a module and add it to `OPERATIONS`;
`nasjax.nets.nhwc` adapts a flax module on [B, H, W, C].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from nasjax.core.errors import unregistered
from nasjax.core.tables import Table
from nasjax.nets import lowering
from nasjax.nets.layers import (
    BatchNorm,
    Conv,
    DepthwiseConv,
    FactorizedReduce,
    ReLUConvBN,
    Style,
)


class Pool(nn.Module):
    """3x3 pool, and a batch norm if `style.pool_norm`, as in DARTS supernets."""

    pool: Callable
    stride: int
    style: Style

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        y = self.pool(x, self.stride, self.style.spelling)
        return BatchNorm(self.style)(y, train) if self.style.pool_norm else y


class SeparableConv(nn.Module):
    """ReLU, depthwise k x k, 1x1, batch norm.

    With `dilation` 1 the sequence is applied twice, and only the first is strided
    (sep_conv). With `dilation` 2 it is applied once (dil_conv).
    """

    features: int
    kernel: int
    stride: int
    dilation: int
    style: Style

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        for stride in (self.stride, 1) if self.dilation == 1 else (self.stride,):
            x = DepthwiseConv(self.kernel, self.style, stride, self.dilation)(
                nn.relu(x)
            )
            x = BatchNorm(self.style)(Conv(self.features, self.style)(x), train)
        return x


class Identity(nn.Module):
    def __call__(self, x: Array, train: bool) -> Array:
        return x


class Noise(nn.Module):
    """Standard normal noise that replaces the input, in training and evaluation
    (S4 of R-DARTS, arXiv 1909.09656)."""

    stride: int

    def __call__(self, x: Array, train: bool, seeds: Array | None = None) -> Array:
        """seeds: uint32 [B], one per example; None: the mean of the noise, 0."""
        x = x[:: self.stride, :, :: self.stride]
        if seeds is None:
            return jnp.zeros_like(x)
        draw = lambda seed: jax.random.normal(
            jax.random.key(seed), x.shape[:3], x.dtype
        )
        return jax.vmap(draw, out_axes=-1)(seeds)


class Zero(nn.Module):
    """`none`: zeros. It takes a share of the softmax."""

    stride: int

    def __call__(self, x: Array, train: bool) -> Array:
        return jnp.zeros_like(x[:: self.stride, :, :: self.stride])


def _skip(channels: int, stride: int, style: Style) -> nn.Module:
    return Identity() if stride == 1 else FactorizedReduce(channels, style)


def _conv(kernel: int, dilation: int) -> Callable[[int, int, Style], nn.Module]:
    return lambda channels, stride, style: SeparableConv(
        channels, kernel, stride, dilation, style
    )


def _dense(kernel: int) -> Callable[[int, int, Style], nn.Module]:
    return lambda channels, stride, style: ReLUConvBN(channels, style, kernel, stride)


OPERATIONS: Table[Callable[[int, int, Style], nn.Module]] = Table(
    "nasjax.nets.operations.OPERATIONS",
    "a function (channels, stride, style) -> flax module",
    callable,
    {
        "none": lambda channels, stride, style: Zero(stride),
        "max_pool_3x3": lambda channels, stride, style: Pool(
            lowering.max_pool, stride, style
        ),
        "avg_pool_3x3": lambda channels, stride, style: Pool(
            lowering.avg_pool, stride, style
        ),
        "skip_connect": _skip,
        "noise": lambda channels, stride, style: Noise(stride),
        "sep_conv_3x3": _conv(3, 1),
        "sep_conv_5x5": _conv(5, 1),
        "dil_conv_3x3": _conv(3, 2),
        "dil_conv_5x5": _conv(5, 2),
        "nor_conv_1x1": _dense(1),
        "nor_conv_3x3": _dense(3),
    },
)


def operation(name: str) -> Callable[[int, int, Style], nn.Module]:
    """The function of `OPERATIONS` that builds a primitive.

    Raises:
      UserError: there is no such primitive.
    """
    if name not in OPERATIONS:
        raise unregistered("primitive", name, OPERATIONS)
    return OPERATIONS[name]


class Draws(NamedTuple):
    """The random draws in every cell.

    Attributes:
      keep: [cells, E, B], factor by which drop path scales the output of each edge; or
        None.
      seeds: uint32 [cells, E, B], seeds of noise operations; or None.
    """

    keep: Array | None = None
    seeds: Array | None = None


NO_DRAWS = Draws()


def output(op: nn.Module, x: Array, train: bool, draws: Draws) -> Array:
    """The output of an operation, with its draws [B]."""
    return op(x, train, draws.seeds) if isinstance(op, Noise) else op(x, train)


def dropped(y: Array, draws: Draws) -> Array:
    """y [H, C, W, B] after drop path."""
    if draws.keep is None:
        return y
    return y * draws.keep[None, None, None].astype(y.dtype)


def is_parametric(name: str) -> bool:
    """True if an operation has parameters at stride 1.

    >>> is_parametric("sep_conv_3x3"), is_parametric("skip_connect")
    (True, False)
    """
    op, x = operation(name)(16, 1, Style(True, "conv")), jnp.zeros((8, 16, 8, 1))
    variables = jax.eval_shape(lambda: op.init(jax.random.key(0), x, True))
    return bool(jax.tree.leaves(variables.get("params", {})))
