"""The buffer of a cell's nodes against plain indexing, in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.maps import same

from nasjax.nets.lowering import nodes as buffer

pytestmark = pytest.mark.usefixtures("float64")
EDGES = np.array([(0, 2), (1, 2), (2, 3)])
DRAWS = np.random.default_rng(0)
NODES, SCALE = DRAWS.normal(size=(4, 3)), DRAWS.normal(size=(3, 3))


def edge(nodes, each):
    (source, target), scale = each
    nodes, x = buffer.read(nodes, source)
    return buffer.add(nodes, target, jnp.tanh(x * scale)), None


def scanned(nodes, scale):
    return jax.lax.scan(edge, nodes, (jnp.array(EDGES), scale))[0]


def one_by_one(nodes, scale):
    """The edges as a loop. Under vmap a scan maps its full carry; a loop need not."""
    for each in zip(jnp.array(EDGES), scale, strict=True):
        nodes, _ = edge(nodes, each)
    return nodes


def plain(nodes, scale):
    for (source, target), each in zip(EDGES.tolist(), scale, strict=True):
        nodes = nodes.at[target].add(jnp.tanh(nodes[source] * each))
    return nodes


def everything(f, nodes, scale):
    loss = lambda nodes, scale: jnp.sum(f(nodes, scale)[2:] ** 3)
    grad = jax.grad(loss, (0, 1))
    tangents = jnp.cos(nodes), jnp.sin(scale)
    return (
        f(nodes, scale),
        jax.jvp(f, (nodes, scale), tangents),
        jax.jvp(grad, (nodes, scale), tangents),
        jax.grad(lambda s: jnp.sum(grad(nodes, s)[1] ** 2))(scale),
    )


@functools.cache
def results(f, axes):
    given = [jnp.asarray(NODES), jnp.asarray(SCALE)]
    many = [np.stack([x, 2 * x]) for x in (NODES, SCALE)]
    if axes:
        pairs = zip(given, many, axes, strict=True)
        given = [x if a is None else np.moveaxis(m, 0, a) for x, m, a in pairs]
    run = functools.partial(everything, f)
    return jax.jit(jax.vmap(run, axes) if axes else run)(*given)


@pytest.mark.parametrize(
    ("ours", "axes"),
    [
        (scanned, None),
        (scanned, (0, None)),
        (scanned, (None, 0)),
        (scanned, (1, 1)),
        (one_by_one, (0, None)),
        (one_by_one, (None, 0)),
        (one_by_one, (1, 1)),
    ],
)
def test_reads_and_additions_are_plain_indexing(ours, axes):
    same(results(ours, axes), results(plain, axes))


@pytest.mark.parametrize("which", [0, 1])
def test_the_gradient_by_one_of_reads_results(which):
    loss = lambda nodes: jnp.sum(jnp.sin(buffer.read(nodes, jnp.int32(1))[which]))
    kept = jnp.ones((4, 1)) if which == 0 else jnp.eye(4)[1][:, None]
    found = jax.jit(jax.grad(loss))(jnp.asarray(NODES))
    same(found, kept * np.cos(NODES))


def test_the_gradient_by_one_of_adds_operands():
    """The other operand is a constant without a gradient."""
    loss = lambda nodes, x: jnp.sum(jnp.sin(buffer.add(nodes, jnp.int32(1), x)))
    given = jnp.asarray(NODES), jnp.asarray(SCALE[0])
    slopes = np.cos(NODES + np.eye(4)[1][:, None] * SCALE[0])
    for operand, expected in ((0, slopes), (1, slopes[1])):
        same(jax.jit(jax.grad(loss, operand))(*given), expected)


def test_reading_and_adding_are_each_others_transposes():
    """<read n, (a, b)> = <n, add(a, b)> at a traced index."""
    index = jnp.int32(3)
    nodes, a, b = jnp.asarray(NODES), jnp.cos(NODES), jnp.asarray(SCALE[0])
    read = lambda nodes: buffer.read(nodes, index)
    add = lambda nodes, x: buffer.add(nodes, index, x)
    same(jax.linear_transpose(read, nodes)((a, b)), (add(a, b),))
    same(jax.linear_transpose(add, a, b)(nodes), read(nodes))


def test_outside_of_jit():
    nodes, x = buffer.read(jnp.asarray(NODES), jnp.int32(3))
    total = buffer.add(nodes, jnp.int32(0), x)
    np.testing.assert_allclose(total[0], NODES[0] + NODES[3])
    np.testing.assert_array_equal(total[1:], NODES[1:])
