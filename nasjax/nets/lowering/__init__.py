"""The spelling of convolutions and pools for the compiler. Layout [H, C, W, B].

Inside networks a map is [H, C, W, B]. On a CPU a vector register then holds one pixel
of 16 examples, and a shift in a map is a multiple of a vector. A 1x1 convolution is one
matrix product for each row of the map, which XLA does not fuse with the operations
before it. Accelerators choose their physical layout themselves.

There are two spellings, equal in value and in every derivative:

* "conv": `lax.conv_general_dilated` and `lax.reduce_window`.
* "shift": arithmetic on shifted slices, and matrix products. On a CPU, XLA's grouped
  convolutions and windowed reductions are 5 to 50 times slower than "shift", and
  convolutions in a scan or with vmapped kernels are even slower. On an H200 a weight
  step is 20 times slower with "conv" (docs/performance.md).

Padding is as in PyTorch: `dilation * (k - 1) / 2` on every side. A map of side n
becomes a map of side ceil(n / stride).
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nasjax.core.errors import unknown
from nasjax.nets.lowering.depthwise import depthwise as shifted_depthwise
from nasjax.nets.lowering.pooling import max_pool as shifted_max_pool

SPELLINGS = ("auto", "conv", "shift")
_LAYOUT = ("HCWN", "HWIO", "HCWN")


def resolve(spelling: str) -> str:
    """The spelling to use: "auto" is "shift"."""
    if spelling not in SPELLINGS:
        raise unknown("lowering", spelling, SPELLINGS)
    return "shift" if spelling == "auto" else spelling


def to_map(images: Array) -> Array:
    """[B, H, W, C] to [H, C, W, B]."""
    return jnp.transpose(images, (1, 3, 2, 0))


def depthwise(x: Array, kernel: Array, stride: int, dilation: int, spelling: str):
    """Depthwise convolution of x [H, C, W, B] with kernel [k, k, C]."""
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
    """Dense convolution of x [H, C, W, B] with kernel [k, k, C, D]."""
    k, _, channels, out = kernel.shape
    if spelling == "conv":
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=_LAYOUT
        )
    if k > 1:
        x = jnp.concatenate(_shifts(x, k, stride, pad), axis=1)
    elif stride > 1:
        x = x[::stride, :, ::stride]
    height, taps, width, batch = x.shape
    matrix = jnp.broadcast_to(kernel.reshape(taps, out).T, (height, out, taps))
    # Two contracted axes (of a gradient) would make XLA transpose the maps.
    rows = x.reshape(height, taps, width * batch)
    y = lax.dot_general(matrix, rows, (((2,), (1,)), ((0,), (0,))))
    return y.reshape(height, out, width, batch)


def max_pool(x: Array, stride: int, spelling: str):
    """Max pool 3x3, padded with -inf. Of equal pixels the first counts, row by row."""
    if spelling == "conv":
        return _windows(x, stride, -jnp.inf, lax.max)
    return shifted_max_pool(x, stride)


def avg_pool(x: Array, stride: int, spelling: str):
    """Average pool 3x3 over the pixels inside the map (count_include_pad=False)."""
    if spelling == "conv":
        total = _windows(x, stride, 0.0, lax.add)
    else:
        total = shifted_depthwise(x, jnp.ones((3, 3, x.shape[1]), x.dtype), stride, 1)
    rows, columns = _valid(x.shape[0], stride), _valid(x.shape[2], stride)
    count = rows[:, None, None, None] * columns[None, None, :, None]
    return total / jnp.asarray(count, x.dtype)


def _valid(n: int, stride: int) -> np.ndarray:
    """Number of 3 neighbours that lie inside a line of n pixels, at every stride."""
    centre = np.arange(0, n, stride)
    return 3 - (centre == 0) - (centre == n - 1)


def _windows(x: Array, stride: int, fill: float, combine: Callable):
    return lax.reduce_window(
        x,
        np.asarray(fill, x.dtype),  # a constant: a tracer would have no derivative
        combine,
        (3, 1, 3, 1),
        (stride, 1, stride, 1),
        ((1, 1), (0, 0), (1, 1), (0, 0)),
    )


def _shifts(x: Array, k: int, stride: int, pad: int) -> list[Array]:
    """The k * k strided views of the padded map that a kernel multiplies."""
    height, channels, width, batch = x.shape
    reach = k - 1
    tall = (height + 2 * pad - reach - 1) // stride * stride + 1
    wide = (width + 2 * pad - reach - 1) // stride * stride + 1
    x = jnp.pad(x, ((pad, pad), (0, 0), (pad, pad), (0, 0)))
    # Without the barrier XLA fuses the producer of x into each tap: k * k computations.
    x = lax.optimization_barrier(x)
    return [
        lax.slice(
            x,
            (i, 0, j, 0),
            (i + tall, channels, j + wide, batch),
            (stride, 1, stride, 1),
        )
        for i in range(k)
        for j in range(k)
    ]
