"""The choice of an edge: the default edge, and partial channels as in PC-DARTS."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.maps import same
from support.tiny import TwoCells

from nasjax.nets import count_supernet, supernet
from nasjax.nets.count import traced
from nasjax.nets.edges import Mixed
from nasjax.nets.layers import Style
from nasjax.nets.operations import NO_DRAWS
from nasjax.spaces import SPACES, Macro, darts
from nasjax.spaces.mix import Weights

SEARCH = Style(True, "shift", pool_norm=True)
SPACE = darts(("none", "max_pool_3x3", "skip_connect", "nor_conv_3x3"))
KEY = jax.random.key(0)
CALLS = []  # the traced calls of `Partial`


class Partial(nn.Module):
    """An edge whose operations get the first of `parts` equal parts of the channels; the
    other parts bypass the operations, and the channels are shuffled."""

    primitives: tuple[str, ...]
    channels: int
    stride: int
    style: Style
    parts: int = 4

    @nn.compact
    def __call__(self, x, weights, train, draws=NO_DRAWS):
        CALLS.append((self.primitives, self.channels, self.stride, self.parts))
        few = self.channels // self.parts
        mixed = Mixed(self.primitives, few, self.stride, self.style)
        y = mixed(x[:, :few], weights._replace(edges=None), train, draws)
        rest = x[:, few:]
        if self.stride == 2:
            windows = (2, 1, 2, 1)
            low = np.array(-np.inf, x.dtype)
            rest = jax.lax.reduce_window(
                rest, low, jax.lax.max, windows, windows, "VALID"
            )
        y = jnp.concatenate([y, rest], 1)
        height, channels, width, batch = y.shape
        y = y.reshape(height, self.parts, few, width, batch)
        y = jnp.swapaxes(y, 1, 2).reshape(height, channels, width, batch)
        return y if weights.edges is None else y * weights.edges.astype(y.dtype)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


MIX = {kind: normal(14, 4, seed=i) for i, kind in enumerate(SPACE.types)}


def values(shapes):
    """Variables of these shapes: kernels are normal, statistics are 1."""
    draws = np.random.default_rng(0)
    fill = lambda leaf: draws.normal(size=leaf.shape) if leaf.ndim > 2 else 1.0
    return jax.tree.map(lambda leaf: fill(leaf) * jnp.ones(leaf.shape), shapes)


def initial(edge, x, weights):
    run = lambda x, weights: edge.init(KEY, x, weights, True)
    return values(nn.meta.unbox(jax.eval_shape(run, x, weights)))


@pytest.mark.parametrize("make", [Mixed, functools.partial(Partial, parts=2)])
@pytest.mark.parametrize("stride", [1, 2])
def test_the_weight_of_an_edge_scales_all_of_it(float64, make, stride):
    edge, x = make(SPACE.primitives, 4, stride, SEARCH), normal(6, 4, 4, 3)
    plain = Weights(normal(4, seed=1))
    variables = initial(edge, x, plain)
    apply = lambda weights: edge.apply(variables, x, weights, False)
    whole = apply(plain)
    assert whole.any()
    same(apply(plain._replace(edges=jnp.array(1.5))), 1.5 * whole)


@pytest.mark.parametrize("stride", [1, 2])
def test_partial_channels_by_hand(float64, stride):
    """Output channel c K + g is channel g (C / K) + c: K = 3 parts of C / K = 2."""
    edge = Partial(("skip_connect", "max_pool_3x3"), 6, stride, SEARCH, 3)
    ops, x = np.array([0.3, 0.7]), normal(4, 6, 4, 2)
    weights = Weights(ops, np.array(2.0))
    variables = initial(edge, x, weights)
    y = np.asarray(edge.apply(variables, x, weights, False))
    inner = Mixed(edge.primitives, 2, stride, SEARCH)
    own = {kind: tree["Mixed_0"] for kind, tree in variables.items()}
    passed = np.asarray(inner.apply(own, x[:, :2], Weights(ops), False))
    past = x[:, 2:]
    if stride == 2:
        past = past.reshape(2, 2, 4, 2, 2, 2).max((1, 4))
    before = [*np.moveaxis(passed, 1, 0), *np.moveaxis(past, 1, 0)]
    for c in range(2):
        for g in range(3):
            same(y[:, 3 * c + g], 2 * before[2 * g + c])


def run(edge, remat="edge", edges=None):
    """(loss, logits, gradients for the weights, gradients for the mix) with such edges."""
    model = supernet(SPACE, TwoCells(4, 2), 3, "shift", None, remat, edge=edge)
    images = normal(3, 8, 8, 1)
    variables = values(jax.eval_shape(model.init, KEY, images))
    mix = {kind: Weights(jnp.array(ops), edges) for kind, ops in MIX.items()}

    def loss(params, mix):
        given = {**variables, "params": params}
        out, _ = model.apply(given, mix, images, train=True)
        return jnp.square(out.logits - 1).sum(), out.logits

    slopes = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    (value, logits), (of_params, of_mix) = slopes(variables["params"], mix)
    return value, logits, jax.tree.leaves(of_params), of_mix


def test_a_supernet_of_other_edges(float64):
    """Rematerialisation changes nothing. The default edge is linear in its weights, so
    weight times slope of an edge equals the sum of that over its operations."""
    edge, edges = functools.partial(Partial, parts=2), jnp.linspace(0.5, 2, 14)
    again, kept = run(edge, "edge", edges), run(edge, "none", edges)
    same(again, kept)
    for slopes in again[3].values():
        assert slopes.ops.shape == (14, 4) and slopes.edges.shape == (14,)
        assert (slopes.edges != 0).all() and slopes.extra is None
    *_, linear = run(Mixed, edges=edges)
    assert set(linear) == set(SPACE.types)
    for kind, slopes in linear.items():
        same(edges * slopes.edges, (MIX[kind] * slopes.ops).sum(1))


def test_one_part_is_the_default_edge(float64):
    same(run(functools.partial(Partial, parts=1)), run(Mixed))


def test_no_weights_of_edges_are_weights_of_1(float64):
    *plain, mix = run(Mixed)
    *weighted, other = run(Mixed, edges=jnp.ones(14))
    same(plain, weighted)
    for kind, slopes in mix.items():
        assert slopes.edges is None
        same(slopes.ops, other[kind].ops)


class Seeds(nn.Module):
    """An edge whose output is the last 16 bits of its seeds."""

    primitives: tuple[str, ...]
    channels: int
    stride: int
    style: Style
    random = True

    @nn.compact
    def __call__(self, x, weights, train, draws=NO_DRAWS):
        x = x[:: self.stride, :, :: self.stride]
        seeds = jnp.zeros(x.shape[-1]) if draws.seeds is None else draws.seeds % 2**16
        return jnp.broadcast_to(seeds.astype(x.dtype), x.shape)


def test_an_edge_may_draw():
    """Its draws follow the key of each example."""
    factory = functools.partial(Seeds)
    model = supernet(SPACE, Macro(4, 1), 3, edge=factory)
    images, keys = jnp.zeros((3, 8, 8, 1)), jax.random.split(KEY, 3)
    variables = model.init(KEY, images)
    mix = {kind: Weights(jnp.ones(SPACE.alpha_shape(kind))) for kind in SPACE.types}
    run = jax.jit(
        lambda keys, model=model, variables=variables: (
            model.apply(variables, mix, images, train=False, key=keys)[0].logits
        )
    )
    one, again, other = run(keys), run(keys), run(keys[::-1])
    np.testing.assert_array_equal(one, again)
    np.testing.assert_array_equal(one[::-1], other)
    assert abs(one[0] - one[1]).max() > 1e-3


def test_equal_edges_are_traced_once():
    """A reduction cell and the normal cells after it share their stride-1 edges."""
    edge = functools.partial(Partial, parts=2)
    model = supernet(SPACE, Macro(4, 8), 3, "shift", edge=edge)
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    variables = jax.eval_shape(model.init, KEY, images)
    mix = {kind: Weights(jnp.ones((14, 4)), jnp.ones(14)) for kind in SPACE.types}
    CALLS.clear()
    apply = lambda v, x: model.apply(v, mix, x, train=True)
    jax.eval_shape(apply, variables, images)
    found = {(channels, stride) for _, channels, stride, _ in CALLS}
    assert found == {(4, 1), (8, 1), (8, 2), (16, 1), (16, 2)}
    assert len(CALLS) == len(found)


@pytest.mark.parametrize("name", ["darts", "s1"])
def test_other_edges_are_counted_as_if_traced_as_a_whole(name):
    space, edge = SPACES[name], functools.partial(Partial, parts=2)
    macro = Macro.of(space, 4, 3, "cifar", search=True)
    mix = {k: Weights(jnp.zeros(space.alpha_shape(k))) for k in space.types}
    model = supernet(space, macro, 5, "conv", edge=edge)
    whole = traced(model, mix, macro, (8, 12), 1)
    found = count_supernet(space, 4, 3, 5, (8, 12), 1, edge=edge)
    assert found == whole
    assert found["params"] < count_supernet(space, 4, 3, 5, (8, 12), 1)["params"]


def test_the_supernet_of_pc_darts():
    """It has as many parameters as the original in PyTorch: C = 16, 8 cells, K = 4."""
    edge = functools.partial(Partial, parts=4)
    found = count_supernet(SPACES["darts"], 16, 8, 10, 32, edge=edge)
    assert found["params"] == 299_578
