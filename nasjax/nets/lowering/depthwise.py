"""Depthwise convolution as arithmetic on shifted slices, for the CPU.

The trilinear form  sum_{g,i,j,c,b,s,t} x[g,i+s,c,j+t,b] w[g,s,t,c] y[g,i,c,j,b]  has
three parts: the convolution (x, w), its input gradient (y, w) and its kernel gradient
(x, y). Each part is bilinear, and its transposes are the other two. So the three
primitives below are closed under differentiation in any order and mode: a derivative
never differentiates a lowering. The leading axis g holds the axes that vmap adds.
"""

from __future__ import annotations

import functools
import itertools

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.interpreters import ad

from nasjax.nets.lowering.custom import grouped


def depthwise(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """Depthwise convolution of x [H, C, W, B] with kernel [k, k, C], k odd.

    The map is padded by dilation * (k - 1) / 2 on every side; side n becomes
    ceil(n / stride).
    """
    geometry = {"k": kernel.shape[0], "stride": stride, "dilation": dilation}
    size = x.shape[0], x.shape[2]
    return _conv.bind(x[None], kernel[None], **geometry, size=size)[0]


def _convolve(x, w, *, k, stride, dilation, size):
    """[G, H, C, W, B] and [G, k, k, C] to [G, ceil(H / s), C, ceil(W / s), B]."""
    out = tuple(-(-n // stride) for n in size)
    return _taps(
        _padded(x, k, dilation), w, range(0, dilation * k, dilation), stride, out
    )


def _input_gradient(y, w, *, k, stride, dilation, size):
    """The transpose in x: y dilated by the stride, then the flipped kernel applied."""
    reach = dilation * (k - 1)
    low = reach // 2
    rows, columns = (
        (low, n + low - (m - 1) * stride - 1, stride - 1)
        for n, m in zip(size, (y.shape[1], y.shape[3]), strict=True)
    )
    none = (0, 0, 0)
    y = lax.pad(y, jnp.zeros((), y.dtype), [none, rows, none, columns, none])
    return _taps(y, w, range(reach, -1, -dilation), 1, tuple(size))


def _taps(x, w, offsets, stride, out):
    """The sum over s, t of the slice of x from offsets (s, t) on, times w[:, s, t]."""
    # Without the barriers XLA computes x again for each tap.
    x = lax.optimization_barrier(x)
    groups, _, channels, _, batch = x.shape
    shape = (groups, out[0], channels, out[1], batch)
    places = list(itertools.product(offsets, offsets))
    weights = lax.reshape(w, (groups, len(places), channels))
    # Plain lax traces three times as fast as operators.
    taps = (
        lax.mul(
            _slice(x, row, column, stride, out),
            lax.broadcast_in_dim(weight, shape, (0, 1, 2)),
        )
        for (row, column), weight in zip(
            places, lax.split(weights, (1,) * len(places), axis=1), strict=True
        )
    )
    return lax.optimization_barrier(functools.reduce(lax.add, taps))


def _kernel_gradient(x, y, *, k, stride, dilation, size):
    """The transpose in w: [G, k, k, C].

    For each channel one matrix product gives the products of every row of x, shifted
    by each column offset, with every row of y, summed over columns and examples. The
    rows of the kernel are sums over diagonals of this product. The other entries, about
    H / k times as many, are discarded. It is nevertheless XLA's fastest form on a CPU.
    """
    del size
    groups, height, channels, width, batch = y.shape
    x = _padded(x, k, dilation)
    rows = x.shape[1]
    views = [
        lax.slice_in_dim(x, at, at + (width - 1) * stride + 1, stride, axis=3)
        for at in range(0, dilation * k, dilation)
    ]
    stacked = jnp.stack(views).reshape(k, groups, rows, channels, width * batch)
    left = jnp.transpose(stacked, (1, 3, 0, 2, 4))
    left = left.reshape(groups, channels, k * rows, width * batch)
    right = jnp.swapaxes(y, 1, 2).reshape(groups, channels, height, width * batch)
    left, right = lax.optimization_barrier((left, right))
    wide = jnp.promote_types(y.dtype, jnp.float32)
    products = jnp.einsum("gcxn,gcyn->gcxy", left, right, preferred_element_type=wide)
    products = lax.optimization_barrier(products)
    products = products.reshape(groups, channels, k, rows, height)
    from_row = np.arange(rows)[None, :, None]
    offset = dilation * np.arange(k)[:, None, None]
    diagonals = from_row == offset + stride * np.arange(height)
    kernel = jnp.einsum("gctxy,sxy->gstc", products, diagonals.astype(wide))
    return kernel.astype(y.dtype)


def _padded(x, k, dilation):
    none, pad = (0, 0), (dilation * (k - 1) // 2,) * 2
    return jnp.pad(x, (none, pad, none, pad, none))


def _slice(x, row, column, stride, out):
    groups, _, channels, _, batch = x.shape
    stop = (row + (out[0] - 1) * stride + 1, column + (out[1] - 1) * stride + 1)
    return lax.slice(
        x,
        (0, row, 0, column, 0),
        (groups, stop[0], channels, stop[1], batch),
        (1, stride, 1, stride, 1),
    )


def _out_shape(x, w, *, stride, size, **_):
    groups, _, channels, _, batch = x.shape
    return groups, -(-size[0] // stride), channels, -(-size[1] // stride), batch


def _in_shape(y, w, *, size, **_):
    groups, _, channels, _, batch = y.shape
    return groups, size[0], channels, size[1], batch


def _kernel_shape(x, y, *, k, **_):
    return x.shape[0], k, k, x.shape[2]


_conv = grouped("depthwise", _convolve, _out_shape)
_input = grouped("depthwise_input_gradient", _input_gradient, _in_shape)
_kernel = grouped("depthwise_kernel_gradient", _kernel_gradient, _kernel_shape)
ad.defbilinear(
    _conv,
    lambda ct, x, w, **geometry: _input.bind(ct, w, **geometry),
    lambda ct, x, w, **geometry: _kernel.bind(x, ct, **geometry),
)
ad.defbilinear(
    _input,
    lambda ct, y, w, **geometry: _conv.bind(ct, w, **geometry),
    lambda ct, y, w, **geometry: _kernel.bind(ct, y, **geometry),
)
ad.defbilinear(
    _kernel,
    lambda ct, x, y, **geometry: _input.bind(y, ct, **geometry),
    lambda ct, x, y, **geometry: _conv.bind(x, ct, **geometry),
)
