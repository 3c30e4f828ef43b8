"""Pools in both spellings against loops over windows, also with ties, in float64."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.maps import on_images, same, stacked

from nasjax.nets import lowering
from nasjax.nets.lowering import pooling

pytestmark = pytest.mark.usefixtures("float64")
SPELLINGS = ("conv", "shift")
POOLS = {"max": lowering.max_pool, "avg": lowering.avg_pool}
DRAWS = np.random.default_rng(0)


def normal(*shape):
    return DRAWS.normal(size=shape)


def images(*shape):
    """Negative images, where a zero border would win a maximum; half of them have ties."""
    ties = DRAWS.integers(0, 2, shape)
    return (
        np.where(np.arange(shape[0])[:, None, None, None] % 2, ties, normal(*shape)) - 9
    )


def windows(size, stride):
    """(output pixel, rows, columns) of a 3x3 window clipped to the map."""
    outs = [range(-(-n // stride)) for n in size]
    for out in itertools.product(*outs):
        yield (
            out,
            *(
                range(max(stride * o - 1, 0), min(stride * o + 2, n))
                for o, n in zip(out, size, strict=True)
            ),
        )


def matrix(kind, x, stride):
    """The pool as a linear map [B, C, out row, out column, row, column] near x.

    Of equal pixels Python's max takes the first in row order.
    """
    batch, *size, channels = x.shape
    out = [-(-n // stride) for n in size]
    linear = np.zeros((batch, channels, *out, *size))
    for (i, j), rows, columns in windows(size, stride):
        pixels = list(itertools.product(rows, columns))
        for b, c in np.ndindex(batch, channels):
            if kind == "avg":
                for pixel in pixels:
                    linear[(b, c, i, j, *pixel)] = 1 / len(pixels)
            else:
                largest = max(pixels, key=lambda p: x[b, p[0], p[1], c])
                linear[(b, c, i, j, *largest)] = 1
    return linear


def everything(f, x, dx, target):
    """Value, jvp, vjp and Hessian-vector products, both ways, of <target, sin f(x)>."""
    grad = jax.grad(lambda x: jnp.vdot(target, jnp.sin(f(x))))
    slope = lambda x: jnp.vdot(grad(x), dx)
    return jax.jvp(f, (x,), (dx,)), jax.jvp(grad, (x,), (dx,)), jax.grad(slope)(x)


def by_definition(kind, stride, x, dx, target):
    """The result of `everything` for the linear map."""
    linear = matrix(kind, x, stride)
    push = lambda v: np.einsum("bcijpq,bpqc->bijc", linear, v)
    pull = lambda ct: np.einsum("bcijpq,bijc->bpqc", linear, ct)
    y, dy = push(x), push(dx)
    hvp = pull(-target * np.sin(y) * dy)
    return (y, dy), (pull(target * np.cos(y)), hvp), hvp


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(5, 4), (6, 7), (2, 1), (1, 3), (1, 1)])
def test_pools(size, stride, kind, spelling):
    """At borders the maximum and the mean use only pixels inside the map."""
    x, dx = images(4, *size, 2), normal(4, *size, 2)
    target = normal(4, *(-(-n // stride) for n in size), 2)
    f = on_images(lambda x: POOLS[kind](x, stride, spelling))
    run = jax.jit(lambda *each: everything(f, *each))
    same(run(x, dx, target), by_definition(kind, stride, x, dx, target))


@functools.cache
def three(stride):
    """Three pairs of a map and a tangent, and a target."""
    pairs = [(images(2, 5, 6, 2), normal(2, 5, 6, 2)) for _ in range(3)]
    return pairs, normal(2, -(-5 // stride), -(-6 // stride), 2)


def of_a_maximum(spelling, stride):
    f = on_images(lambda x: lowering.max_pool(x, stride, spelling))
    return lambda x, dx: everything(f, x, dx, three(stride)[1])


@pytest.mark.parametrize("axes", [(0, 0), (0, None), (None, 0), (3, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_maximum_under_vmap(spelling, stride, axes):
    """Under vmap over maps, over tangents, and over both."""
    pairs, target = three(stride)
    xs, dxs = map(np.stack, zip(*pairs, strict=True))
    pairs = [
        (xs[0 if axes[0] is None else i], dxs[0 if axes[1] is None else i])
        for i in range(3)
    ]
    given = [
        many[0] if axis is None else np.moveaxis(many, 0, axis)
        for many, axis in zip((xs, dxs), axes, strict=True)
    ]
    expected = stacked([by_definition("max", stride, *pair, target) for pair in pairs])
    same(jax.jit(jax.vmap(of_a_maximum(spelling, stride), axes))(*given), expected)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_maximum_in_a_scan(spelling, stride):
    (pairs, target), run = three(stride), of_a_maximum(spelling, stride)
    expected = stacked([by_definition("max", stride, *pair, target) for pair in pairs])
    scan = jax.jit(
        lambda pairs: jax.lax.scan(lambda _, pair: (0, run(*pair)), 0, pairs)
    )
    same(scan(tuple(map(np.stack, zip(*pairs, strict=True))))[1], expected)


def test_the_derivatives_of_a_maximum_outside_of_jit():
    x, dx, target = images(2, 5, 4, 2), normal(2, 5, 4, 2), normal(2, 3, 2, 2)
    f = on_images(lambda x: pooling.max_pool(x, 2))
    same(everything(f, x, dx, target), by_definition("max", 2, x, dx, target))


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("stride", [1, 2])
def test_of_a_flat_map_every_window_takes_its_first_pixel(stride, spelling):
    """That is the pixel above and to the left of the window's centre, inside the map."""
    pool = lambda x: lowering.max_pool(x, stride, spelling).sum()
    grad = jax.grad(pool)(jnp.ones((4, 1, 4, 1)))[:, 0, :, 0]
    counts = np.array([2.0, 1, 1, 0]) if stride == 1 else np.array([1.0, 1, 0, 0])
    np.testing.assert_array_equal(grad, counts[:, None] * counts)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_pools_by_hand(spelling):
    x = -jnp.arange(1.0, 10.0).reshape(3, 1, 3, 1)
    largest, average = (POOLS[kind](x, 2, spelling) for kind in ("max", "avg"))
    same(largest[:, 0, :, 0], np.array([[-1.0, -2.0], [-4.0, -5.0]]))
    same(average[:, 0, :, 0], np.array([[-3.0, -4.0], [-6.0, -7.0]]))
