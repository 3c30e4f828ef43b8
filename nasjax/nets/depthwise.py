"""Depthwise convolution as arithmetic on shifted slices, for the CPU.

The trilinear form  sum_{g,b,i,j,c,s,t} x[g,b,i+s,j+t,c] w[g,s,t,c] y[g,b,i,j,c]  has
three faces: the convolution (x, w), its input gradient (y, w) and its kernel gradient
(x, y). Each is bilinear and each one's transposes are the other two, so the three
primitives below are closed under differentiation in any order and mode: no derivative
ever looks inside a lowering. The leading axis g takes what vmap adds.

Plain autodiff of the sum of slices is correct as well, but its gradients are k * k
reductions and k * k padded additions: slow to run and slower to compile.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

_CHUNKS = 8  # of the batch, summed elementwise before the kernel gradient's reduction


def depthwise(x: Array, kernel: Array, stride: int, dilation: int) -> Array:
    """Depthwise convolution of x [B, H, W, C] with kernel [k, k, C], k odd.

    Padded by dilation * (k - 1) / 2 on every side: a map of side n becomes
    ceil(n / stride).
    """
    geometry = {"k": kernel.shape[0], "stride": stride, "dilation": dilation}
    return _conv.bind(x[None], kernel[None], **geometry, size=x.shape[1:3])[0]


def _convolve(x, w, *, k, stride, dilation, size):
    """[G, B, H, W, C] and [G, k, k, C] to [G, B, ceil(H / s), ceil(W / s), C]."""
    pad = dilation * (k - 1) // 2
    x = jnp.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad), (0, 0)))
    out = tuple(-(-n // stride) for n in size)
    return _taps(x, w, range(0, dilation * k, dilation), stride, out)


def _input_gradient(y, w, *, k, stride, dilation, size):
    """The transpose in x: dilate y by the stride, correlate with the flipped kernel."""
    reach = dilation * (k - 1)
    low = reach // 2
    widths = [
        (low, n + low - (m - 1) * stride - 1, stride - 1)
        for n, m in zip(size, y.shape[2:4], strict=True)
    ]
    zero = jnp.zeros((), y.dtype)
    y = lax.pad(y, zero, [(0, 0, 0), (0, 0, 0), *widths, (0, 0, 0)])
    return _taps(y, w, range(reach, -1, -dilation), 1, tuple(size))


def _taps(x, w, offsets, stride, out):
    """sum_{s,t} of the slice of x that starts at offsets (s, t), times w[:, s, t]."""
    # Without the barriers XLA computes what made x again for each tap.
    x = lax.optimization_barrier(x)
    w = w[:, :, :, None, None, None]
    total = sum(
        _slice(x, row, column, stride, out) * w[:, s, t]
        for s, row in enumerate(offsets)
        for t, column in enumerate(offsets)
    )
    return lax.optimization_barrier(total)


def _kernel_gradient(x, y, *, k, stride, dilation, size):
    """The transpose in w: [G, k, k, C]. One tap after the other, so that one small
    body is compiled; each sums chunks of the batch elementwise, then all the rest by
    a product with ones, XLA's fastest reduction on a CPU."""
    del size
    groups, batch, height, width, channels = y.shape
    pad = dilation * (k - 1) // 2
    x = jnp.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad), (0, 0)))
    chunks = next(n for n in range(min(_CHUNKS, batch), 0, -1) if batch % n == 0)
    split = (groups, chunks, batch // chunks)
    x = lax.optimization_barrier(x.reshape(*split, *x.shape[2:]))
    y = y.reshape(*split, *y.shape[2:])
    window = (*split, (height - 1) * stride + 1, (width - 1) * stride + 1, channels)

    def tap(_, offset):
        zero = jnp.zeros_like(offset[0])
        view = lax.dynamic_slice(x, (zero, zero, zero, *offset, zero), window)
        view = view[:, :, :, ::stride, ::stride]
        partial = sum(view[:, n] * y[:, n] for n in range(chunks))
        rows = lax.optimization_barrier(partial.reshape(groups, -1, channels))
        return None, jnp.einsum("r,grc->gc", jnp.ones(rows.shape[1], rows.dtype), rows)

    steps = np.arange(k, dtype=np.int32) * dilation
    offsets = jnp.asarray(np.repeat(steps, k)), jnp.asarray(np.tile(steps, k))
    _, taps = lax.scan(tap, None, offsets)
    return jnp.moveaxis(taps, 0, 1).reshape(groups, k, k, channels)


def _slice(x, row, column, stride, out):
    groups, batch, _, _, channels = x.shape
    stop = (row + (out[0] - 1) * stride + 1, column + (out[1] - 1) * stride + 1)
    start = (0, 0, row, column, 0)
    return lax.slice(
        x, start, (groups, batch, *stop, channels), (1, 1, stride, stride, 1)
    )


def _primitive(name: str, rule: Callable) -> Primitive:
    """A primitive that is lowered by `rule` and batched along the leading axis."""
    primitive: Any = Primitive(f"depthwise_{name}")

    def abstract(*operands, **geometry):
        shape = jax.eval_shape(functools.partial(rule, **geometry), *operands)
        return jax.core.ShapedArray(shape.shape, shape.dtype)

    def batch(operands, axes, **geometry):
        pairs = list(zip(operands, axes, strict=True))
        size = next(x.shape[axis] for x, axis in pairs if axis is not None)

        def lead(x, axis):
            if axis is None:
                x = jnp.broadcast_to(x[None], (size, *x.shape))
            else:
                x = jnp.moveaxis(x, axis, 0)
            return x.reshape(size * x.shape[1], *x.shape[2:])

        out = primitive.bind(*(lead(*pair) for pair in pairs), **geometry)
        return out.reshape(size, out.shape[0] // size, *out.shape[1:]), 0

    primitive.def_abstract_eval(abstract)
    primitive.def_impl(
        lambda *operands, **geometry: jax.jit(functools.partial(rule, **geometry))(
            *operands
        )
    )
    mlir.register_lowering(primitive, mlir.lower_fun(rule, multiple_results=False))
    batching.primitive_batchers[primitive] = batch
    return primitive


_conv = _primitive("conv", _convolve)
_input = _primitive("input_gradient", _input_gradient)
_kernel = _primitive("kernel_gradient", _kernel_gradient)
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
