"""Scanned edges equal the edges one by one, in value and in every derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.maps import same

from nasjax.nets.scan_edges import along
from nasjax.spaces.mix import Weights

EDGES = np.array([(0, 2), (1, 2), (0, 3), (1, 3), (2, 3)])
KEYS = jax.random.split(jax.random.key(0), 6)


def edge(params, stats, x, weights, path):
    y = weights.ops[0] * jnp.tanh(params["w"] * x) + weights.ops[1] * x**2
    if weights.edges is not None:
        y = y * weights.edges
    if weights.extra is not None:
        y = jnp.roll(y, weights.extra["by"], 0) + weights.extra["scale"] * y
    return (y if path is None else y * path[None]), 0.9 * stats + 0.1 * x.mean()


def one_by_one(nodes, inputs, params, weights, stats, paths):
    nodes, updated = list(nodes), []
    for i, (source, target) in enumerate(EDGES):
        x = nodes[source] if inputs is None else inputs[source]
        path = None if paths is None else paths[i]
        own = jax.tree.map(lambda leaf, i=i: leaf[i], (params, stats, weights))
        params_i, stats_i, weights_i = own
        y, new = edge(params_i, stats_i, x, weights_i, path)
        nodes[target] = nodes[target] + y
        updated.append(new)
    return jnp.stack(nodes), jnp.stack(updated)


def point(apart: bool, dropped: bool):
    """Arguments of a scan; with `apart` the sources are separate inputs, not nodes."""
    nodes = jax.random.normal(KEYS[0], (4, 3, 2)).at[2:].set(0)
    inputs = jax.random.normal(KEYS[1], (3, 3, 2)) if apart else None
    params = {"w": jax.random.normal(KEYS[2], (5, 3, 2))}
    weights = Weights(jax.random.normal(KEYS[3], (5, 2)), jnp.arange(1.0, 6))
    stats = jax.random.normal(KEYS[4], (5,))
    paths = jnp.array([[1.0, 0], [2, 2], [0, 1], [1, 1], [0, 3]]) if dropped else None
    return nodes, inputs, params, weights, stats, paths


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("dropped", [True, False])
def test_values_and_derivatives(float64, keep, apart, dropped):
    *moving, stats, paths = point(apart, dropped)
    tangents = jax.tree.map(lambda leaf: jnp.cos(3 * leaf), moving)
    found, expected = [], []
    add_all = along(edge, keep)
    along_edges = lambda *arguments: add_all(*arguments, EDGES)
    for results, run in ((found, along_edges), (expected, one_by_one)):
        nodes = lambda moving, run=run: run(*moving, stats, paths)[0]
        loss = lambda moving, nodes=nodes: jnp.sin(nodes(moving)).sum()
        grad = jax.grad(loss)
        only = lambda weights, loss=loss: loss([*moving[:3], weights])
        results += [
            jax.jit(run)(*moving, stats, paths),
            jax.jvp(nodes, (moving,), (tangents,)),
            jax.jit(grad)(moving),
            jax.jvp(grad, (moving,), (tangents,)),
            jax.grad(lambda m, grad=grad: sum(map(jnp.sum, jax.tree.leaves(grad(m)))))(
                moving
            ),
            jax.grad(only)(moving[3]),
            jax.vmap(jax.grad(only))(
                jax.tree.map(lambda *two: jnp.stack(two), moving[3], tangents[3])
            ),
        ]
    jax.tree.map(same, found, expected)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("part", ["ops", "edges", "scale"])
def test_weights_of_which_a_part_moves(float64, keep, part):
    """The other weights are constants, including integers."""
    nodes, inputs, params, weights, stats, paths = point(False, False)
    extra = {"by": jnp.array([0, 1, 2, 1, 0]), "scale": jnp.linspace(0, 1, 5)}

    def put(value):
        if part == "scale":
            return weights._replace(extra=extra | {"scale": value})
        return weights._replace(extra=extra, **{part: value})

    value = extra["scale"] if part == "scale" else getattr(weights, part)
    add_all = along(edge, keep)
    along_edges = lambda *arguments: add_all(*arguments, EDGES)

    def slopes(run):
        loss = lambda v: jnp.sin(
            run(nodes, inputs, params, put(v), stats, paths)[0]
        ).sum()
        product = jax.jvp(jax.grad(loss), (value,), (jnp.cos(value),))
        return loss(value), *product

    found, expected = slopes(along_edges), slopes(one_by_one)
    same(found, expected)
    assert np.abs(expected[1]).min() > 0


def test_nothing_is_stored_for_an_edge():
    """The gradient of an edge is computed from the final nodes, which are kept once."""
    *moving, stats, paths = point(False, False)

    def kept(keep):
        run = lambda m: along(edge, keep)(*m, stats, paths, EDGES)[0]
        _, pull = jax.vjp(run, moving)
        shapes = [leaf.shape for leaf in jax.tree.leaves(pull)]
        return sum(shape[:1] == (5,) and shape[1:] == (3, 2) for shape in shapes)

    assert kept(False) == 1  # params
    assert kept(True) > 1
