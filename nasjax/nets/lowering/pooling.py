"""3x3 max pooling as arithmetic on shifted slices, for the CPU.

The derivative of the maximum picks the entry at the largest pixel of a window, and the
transpose of the derivative puts the entry back. Of equal pixels the first one, row by
row, is the largest. Both are linear primitives and each other's transposes, so
derivatives of any order and mode cost the same. Differentiating a chain of maxima is
five times slower.
"""

from __future__ import annotations

import functools
import itertools

import jax.numpy as jnp
from jax import Array, lax
from jax.interpreters import ad

from nasjax.nets.lowering.custom import alone, grouped, no_tangent

_TAPS = tuple(itertools.product(range(3), range(3)))


def max_pool(x: Array, stride: int) -> Array:
    """Max pool 3x3 of x [H, C, W, B], padded with -inf to ceil(n / stride)."""
    return _maximum.bind(x[None], stride=stride)[0]


def _maximum_rule(x, *, stride):
    """[G, H, C, W, B] to [G, ceil(H / s), C, ceil(W / s), B]."""

    def largest(x):
        return functools.reduce(lax.max, _windows(x, stride))

    return alone(largest, _padded(x, -jnp.inf))


def _pick_rule(x, t, *, stride):
    """The entries of t at the largest x of every window."""

    def pick(x, t):
        values, candidates = _windows(x, stride), _windows(t, stride)
        best, picked = values[0], candidates[0]
        for value, candidate in zip(values[1:], candidates[1:], strict=True):
            better = value > best
            best = lax.select(better, value, best)
            picked = lax.select(better, candidate, picked)
        return picked

    return alone(pick, _padded(x, -jnp.inf), _padded(t, 0.0))


def _place_rule(x, y, *, stride):
    """The transpose of picking: y added at the largest x of every window."""

    def where(x):
        best, *values = _windows(x, stride)
        tap = jnp.zeros(best.shape, jnp.int32)
        for index, value in enumerate(values, 1):
            better = value > best
            best = lax.select(better, value, best)
            tap = lax.select(better, jnp.full_like(tap, index), tap)
        return tap

    def place(tap, y):
        total = jnp.zeros_like(x)
        size = x.shape
        for index, (row, column) in enumerate(_TAPS):
            start = (0, 2 - row, 0, 2 - column, 0)
            stop = tuple(a + n for a, n in zip(start, size, strict=True))
            here = lax.slice(tap, start, stop) == index
            total += lax.select(here, lax.slice(y, start, stop), jnp.zeros_like(x))
        return total

    tap = alone(where, _padded(x, -jnp.inf))
    rows, columns = (
        (1, n - (m - 1) * stride, stride - 1)
        for n, m in zip(x.shape[1::2], y.shape[1::2], strict=False)
    )
    none = (0, 0, 0)
    widths = [none, rows, none, columns, none]
    tap = lax.pad(tap, jnp.int32(-1), widths)
    y = lax.pad(y, jnp.zeros((), y.dtype), widths)
    return alone(place, tap, y)


def _padded(x, fill):
    none, one = (0, 0, 0), (1, 1, 0)
    return lax.pad(x, jnp.asarray(fill, x.dtype), [none, one, none, one, none])


def _windows(x, stride):
    """The nine strided views of a padded map, row by row."""
    groups, height, channels, width, batch = x.shape
    tall, wide = height - 2, width - 2
    return [
        lax.slice(
            x,
            (0, row, 0, column, 0),
            (groups, row + tall, channels, column + wide, batch),
            (1, stride, 1, stride, 1),
        )
        for row, column in _TAPS
    ]


def _pooled_shape(x, *_, stride):
    groups, height, channels, width, batch = x.shape
    return groups, -(-height // stride), channels, -(-width // stride), batch


_maximum = grouped("max_pool", _maximum_rule, _pooled_shape)
_pick = grouped("max_pool_pick", _pick_rule, _pooled_shape)
_place = grouped("max_pool_place", _place_rule, lambda x, y, *, stride: x.shape)


def _maximum_jvp(primals, tangents, *, stride):
    (x,), (t,) = primals, tangents
    y = _maximum.bind(x, stride=stride)
    if type(t) is ad.Zero:
        return y, no_tangent(y)
    return y, _pick.bind(x, t, stride=stride)


def _linear_jvp(primitive, primals, tangents, *, stride):
    x, y = primals
    out = primitive.bind(x, y, stride=stride)
    if type(tangents[1]) is ad.Zero:
        return out, no_tangent(out)
    return out, primitive.bind(x, tangents[1], stride=stride)


ad.primitive_jvps[_maximum] = _maximum_jvp
for _one, _other in ((_pick, _place), (_place, _pick)):
    ad.primitive_jvps[_one] = functools.partial(_linear_jvp, _one)
    ad.primitive_transposes[_one] = lambda ct, x, y, *, stride, _other=_other: [
        None,
        ct if type(ct) is ad.Zero else _other.bind(x, ct, stride=stride),
    ]
