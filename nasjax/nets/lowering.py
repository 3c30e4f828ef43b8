"""How convolutions and pools are spelled for the compiler. Layout [B, H, W, C].

Two spellings, equal in value and in every derivative (but where two pixels tie in a
max pool: "shift" shares the gradient among them, "conv" gives it to one):

* "conv": `lax.conv_general_dilated` and `lax.reduce_window`, fast on accelerators.
* "shift": arithmetic on shifted slices, and matrix products. On a CPU, XLA's grouped
  convolutions and windowed reductions are 5 to 50 times slower than this, and a
  convolution in a scan or with vmapped kernels slower still.

Padding is PyTorch's: `dilation * (k - 1) / 2` on every side, so that a map of side n
becomes ceil(n / stride).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nasjax.errors import unknown
from nasjax.nets.depthwise import depthwise as shifted_depthwise

SPELLINGS = ("auto", "conv", "shift")
_LAYOUT = ("NHWC", "HWIO", "NHWC")


def resolve(spelling: str) -> str:
    """The spelling to use: "auto" is "shift" on a CPU and "conv" elsewhere."""
    if spelling not in SPELLINGS:
        raise unknown("lowering", spelling, SPELLINGS)
    if spelling != "auto":
        return spelling
    return "shift" if jax.default_backend() == "cpu" else "conv"


def depthwise(x: Array, kernel: Array, stride: int, dilation: int, spelling: str):
    """Depthwise convolution of x [B, H, W, C] with kernel [k, k, C]."""
    k, channels = kernel.shape[0], kernel.shape[2]
    pad = dilation * (k - 1) // 2
    if spelling == "conv":
        return lax.conv_general_dilated(
            x,
            kernel[:, :, None, :],
            (stride, stride),
            [(pad, pad)] * 2,
            rhs_dilation=(dilation, dilation),
            dimension_numbers=_LAYOUT,
            feature_group_count=channels,
        )
    return shifted_depthwise(x, kernel, stride, dilation)


def convolution(x: Array, kernel: Array, stride: int, pad: int, spelling: str):
    """Dense convolution of x [B, H, W, C] with kernel [k, k, C, D]."""
    k, _, channels, out = kernel.shape
    if spelling == "conv":
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=_LAYOUT
        )
    if k > 1:
        x = jnp.concatenate(_shifts(x, k, stride, pad), axis=-1)
    elif stride > 1:
        x = x[:, ::stride, ::stride]
    return x @ kernel.reshape(k * k * channels, out)


def max_pool(x: Array, stride: int, spelling: str):
    """Max pool 3x3, padded with -inf."""
    if spelling == "conv":
        return _windows(x, stride, -jnp.inf, lax.max)
    return _separable(x, stride, -jnp.inf, jnp.maximum)


def avg_pool(x: Array, stride: int, spelling: str):
    """Average pool 3x3 over the pixels inside the map (count_include_pad=False)."""
    if spelling == "conv":
        total = _windows(x, stride, 0.0, lax.add)
    else:
        total = _separable(x, stride, 0.0, jnp.add)
    rows, columns = (_valid(n, stride) for n in x.shape[1:3])
    count = rows[None, :, None, None] * columns[None, None, :, None]
    return total / jnp.asarray(count, x.dtype)


def _valid(n: int, stride: int) -> np.ndarray:
    """How many of 3 neighbours lie inside a line of n pixels, at every stride."""
    centre = np.arange(0, n, stride)
    return 3 - (centre == 0) - (centre == n - 1)


def _windows(x: Array, stride: int, fill: float, combine: Callable):
    return lax.reduce_window(
        x,
        np.asarray(fill, x.dtype),  # a constant: of a tracer there is no derivative
        combine,
        (1, 3, 3, 1),
        (1, stride, stride, 1),
        ((0, 0), (1, 1), (1, 1), (0, 0)),
    )


def _separable(x: Array, stride: int, fill: float, combine: Callable):
    """A 3x3 window as a pass over rows and a pass over columns."""
    for axis in (1, 2):
        widths = [(1, 1) if a == axis else (0, 0) for a in range(4)]
        padded = jnp.pad(x, widths, constant_values=fill)
        stop = x.shape[axis] - 1
        slices = [
            lax.slice_in_dim(padded, i, i + stop + 1, stride, axis) for i in range(3)
        ]
        x = functools.reduce(combine, slices)
    return x


def _shifts(x: Array, k: int, stride: int, pad: int) -> list[Array]:
    """The k * k strided views of the padded map that a kernel multiplies."""
    batch, height, width, channels = x.shape
    reach = k - 1
    tall = (height + 2 * pad - reach - 1) // stride * stride + 1
    wide = (width + 2 * pad - reach - 1) // stride * stride + 1
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    # Without the barrier XLA fuses what made x into each tap and computes it k * k times.
    x = lax.optimization_barrier(x)
    offsets = [(i, j) for i in range(k) for j in range(k)]
    return [
        lax.slice(
            x,
            (0, i, j, 0),
            (batch, i + tall, j + wide, channels),
            (1, stride, stride, 1),
        )
        for i, j in offsets
    ]
