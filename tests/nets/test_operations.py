import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.maps import same

from nasjax.nets import parameters
from nasjax.nets.layers import (
    BatchNorm,
    Conv,
    FactorizedReduce,
    Style,
    drawn,
    standardise,
    uniform_fan_in,
)
from nasjax.nets.operations import OPERATIONS

SEARCH, FIXED = Style(True, "shift", pool_norm=True), Style(False, "shift")
EPS = 1e-5
CONVOLUTIONS = ("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5")


def shapes(module, x):
    """The shapes of a module's variables, given the shape of a map."""
    x = jax.ShapeDtypeStruct(x, jnp.float32)
    return jax.eval_shape(lambda x: module.init(jax.random.key(0), x, True), x)


def variables(module, x):
    """Variables of a module: kernels, scales and variances are 1, biases and means 0."""

    def value(path, leaf):
        fill = np.zeros if path[-1].key in ("mean", "bias") else np.ones
        return fill(leaf.shape, leaf.dtype)

    found = nn.meta.unbox(shapes(module, x.shape))
    return jax.tree.map_with_path(value, found)


@functools.partial(jax.jit, static_argnums=0)
def initial(module, x):
    """The initial variables of a module."""
    return nn.meta.unbox(module.init(jax.random.key(0), x, True))


@functools.partial(jax.jit, static_argnums=(0, 3))
def run(module, values, x, train):
    """(y, variables with the new statistics), as one program."""
    y, after = module.apply(values, x, train, mutable=["batch_stats"])
    return y, {**values, **after}


def of(values, statistics):
    """Flax variables of batch norm with this (mean, var) and these `values`."""
    stats = dict(zip(("mean", "var"), statistics, strict=True))
    return {"batch_stats": stats, **values}


def test_batch_norm_by_hand():
    """Mean 3, a variance of 14/4 for normalisation and of 14/3 for the running value."""
    x = np.float32([1, 2, 3, 6]).reshape(2, 1, 2, 1)
    norm = BatchNorm(SEARCH)
    begin = initial(norm, x)
    assert "params" not in begin
    y, after = run(norm, begin, x, True)
    expected = np.array([-2.0, -1.0, 0.0, 3.0]) / np.sqrt(3.5 + EPS)
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(after["batch_stats"]["mean"], [0.3], rtol=1e-6)
    variance = 0.9 + 0.1 * 14 / 3
    np.testing.assert_allclose(after["batch_stats"]["var"], [variance], rtol=1e-6)

    y, still = run(norm, after, x, False)
    assert jax.tree.all(jax.tree.map(np.array_equal, still, after))
    expected = (np.array([1.0, 2.0, 3.0, 6.0]) - 0.3) / np.sqrt(variance + EPS)
    np.testing.assert_allclose(y.ravel(), expected, rtol=1e-6)

    _, twice = run(norm, after, x, True)
    np.testing.assert_allclose(twice["batch_stats"]["mean"], [0.57], rtol=1e-6)
    variance = 0.9 * variance + 0.1 * 14 / 3
    np.testing.assert_allclose(twice["batch_stats"]["var"], [variance], rtol=1e-6)


def test_batch_norm_eps_scale_and_bias():
    """eps = 1e-5 dominates a variance of 1e-6; channels are independent."""
    x = np.float32([[0.0, 2e-3], [5.0, 7.0]]).reshape(1, 2, 1, 2)
    norm = BatchNorm(FIXED)
    begin = initial(norm, x)
    assert parameters(begin["params"]) == 4
    params = {"scale": np.float32([2, -1]), "bias": np.float32([0, 10])}
    y, _ = run(norm, {**begin, "params": params}, x, True)
    first = 2 * 1e-3 / np.sqrt(1.1e-5)
    second = 1 / np.sqrt(1 + EPS)
    expected = [[-first, first], [10 + second, 10 - second]]
    np.testing.assert_allclose(y[0, :, 0], expected, rtol=1e-5)


def test_batch_norm_derivatives():
    """Batch moments have a derivative, running statistics have none."""
    x = np.random.default_rng(0).normal(size=(2, 1, 2, 3)).astype(np.float32)
    norm = BatchNorm(SEARCH)
    begin = initial(norm, x)
    apply = lambda x: norm.apply(begin, x, True, mutable=["batch_stats"])
    grad = np.asarray(jax.jit(jax.grad(lambda x: (apply(x)[0] ** 3).sum()))(x))
    # y is invariant under shifts of x and, except for eps, under scaling of x.
    assert abs(float(grad.sum())) < 1e-4
    assert abs(float((grad * x).sum())) < 1e-3 < float(np.abs(grad).sum())
    remembered = lambda x: sum(
        leaf.sum() for leaf in jax.tree.leaves(apply(x)[1]["batch_stats"])
    )
    assert not np.asarray(jax.jit(jax.grad(remembered))(x)).any()


@pytest.mark.parametrize("size", [(4, 6), (5, 4), (5, 7), (1, 2)])
def test_factorized_reduce(size):
    """Even pixels in one half, odd pixels in the other, zeros beyond odd maps."""
    height, width = size
    x = 1.0 + np.arange(height * width, dtype=np.float32).reshape(height, 1, width, 1)
    module = FactorizedReduce(2, SEARCH)
    y, _ = run(module, variables(module, x), x, False)
    y = np.asarray(y).transpose(3, 0, 2, 1)[0] * np.sqrt(1 + EPS)
    rows, columns = -(-height // 2), -(-width // 2)
    expected = np.zeros((rows, columns, 2))
    for i, j in np.ndindex(rows, columns):
        expected[i, j, 0] = x[2 * i, 0, 2 * j, 0]
        if 2 * i + 1 < height and 2 * j + 1 < width:
            expected[i, j, 1] = x[2 * i + 1, 0, 2 * j + 1, 0]
    np.testing.assert_allclose(y, expected, rtol=1e-5)


# Parameters of the original PyTorch operations at C = 16: (search, retraining) with stride
# 1, then with stride 2.
PARAMETERS = {
    "none": ((0, 0), (0, 0)),
    "max_pool_3x3": ((0, 0), (0, 0)),
    "avg_pool_3x3": ((0, 0), (0, 0)),
    "skip_connect": ((0, 0), (256, 288)),
    "noise": ((0, 0), (0, 0)),
    "sep_conv_3x3": ((800, 864), (800, 864)),
    "sep_conv_5x5": ((1312, 1376), (1312, 1376)),
    "dil_conv_3x3": ((400, 432), (400, 432)),
    "dil_conv_5x5": ((656, 688), (656, 688)),
    "nor_conv_1x1": ((256, 288), (256, 288)),
    "nor_conv_3x3": ((2304, 2336), (2304, 2336)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_parameters_of_an_operation(name):
    found = tuple(
        tuple(
            parameters(shapes(OPERATIONS[name](16, stride, style), (8, 16, 8, 1)))
            - statistics(OPERATIONS[name](16, stride, style))
            for style in (SEARCH, FIXED)
        )
        for stride in (1, 2)
    )
    assert found == PARAMETERS[name]


def statistics(operation):
    return parameters(shapes(operation, (8, 16, 8, 1)).get("batch_stats", {}))


def test_only_the_pools_of_a_darts_supernet_are_normalised():
    for name in ("max_pool_3x3", "avg_pool_3x3"):
        assert statistics(OPERATIONS[name](16, 1, SEARCH)) == 32
        assert statistics(OPERATIONS[name](16, 1, FIXED)) == 0
        assert statistics(OPERATIONS[name](16, 1, Style(True, "shift"))) == 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_maps_are_halved_upwards(name):
    for side in (1, 2, 5, 8):
        for stride in (1, 2):
            operation = OPERATIONS[name](4, stride, SEARCH)
            x = jax.ShapeDtypeStruct((side, 4, side + 1, 2), jnp.float32)
            out = jax.eval_shape(
                lambda x: operation.init_with_output(jax.random.key(0), x, True)[0], x
            )
            half = (-(-side // stride), -(-(side + 1) // stride))
            assert out.shape == (half[0], 4, half[1], 2)


def test_none_and_identity():
    x = np.random.default_rng(0).normal(size=(1, 3, 4, 2)).astype(np.float32)
    assert (OPERATIONS["skip_connect"](2, 1, SEARCH).apply({}, x, True) == x).all()
    for stride, shape in ((1, (1, 3, 4, 2)), (2, (1, 3, 2, 2))):
        y = OPERATIONS["none"](2, stride, SEARCH).apply({}, x, True)
        assert y.shape == shape and not np.asarray(y).any()


@pytest.mark.parametrize(
    ("name", "reach"),
    [
        ("sep_conv_3x3", [-2, -1, 0, 1, 2]),
        ("sep_conv_5x5", [-4, -3, -2, -1, 0, 1, 2, 3, 4]),
        ("dil_conv_3x3", [-2, 0, 2]),
        ("dil_conv_5x5", [-4, -2, 0, 2, 4]),
    ],
)
def test_what_a_convolution_sees(name, reach):
    """The response to one bright pixel: separable convolutions are applied twice, dilated
    ones once. The ReLU before the convolution removes a dark pixel."""
    x = np.zeros((11, 2, 11, 1), np.float32)
    x[5, 0, 5, 0] = 1
    operation = OPERATIONS[name](2, 1, SEARCH)
    begin = variables(operation, x)
    apply = lambda x: np.asarray(run(operation, begin, x, False)[0])
    seen = apply(x).transpose(3, 0, 2, 1)[0]
    for axis in (0, 1):
        touched = np.flatnonzero(seen.any((1 - axis, 2))) - 5
        assert touched.tolist() == reach
    assert not apply(-x).any()


def test_only_the_first_half_of_a_separable_convolution_is_strided():
    x = np.zeros((9, 1, 9, 1), np.float32)
    x[4, 0, 4, 0] = 1
    operation = OPERATIONS["sep_conv_3x3"](1, 2, SEARCH)
    y, _ = run(operation, variables(operation, x), x, False)
    expected = np.zeros((5, 5))
    expected[1:4, 1:4] = 1 / (1 + EPS)  # pixel 4 is the centre of output 2 only
    np.testing.assert_allclose(y[:, 0, :, 0], expected, rtol=1e-6)


def test_initial_weights_are_those_of_pytorch():
    """U(-b, b), b = 1 / sqrt(fan in), for the 3 * 3 * 4 inputs of a dense kernel."""
    module = Conv(1000, FIXED, kernel=3, pad=1)
    key = jax.random.key(1)
    x = np.zeros((3, 4, 3, 1), np.float32)

    @jax.jit
    def draws():
        alone = uniform_fan_in(25)(key, (5, 5, 400))
        return drawn(module.init(key, x), key)["params"]["kernel"], drawn(alone, key)

    kernel, alone = map(np.asarray, draws())
    assert kernel.shape == (3, 3, 4, 1000)
    assert 0.99 / 6 < float(np.abs(kernel).max()) <= 1 / 6
    assert float(kernel.std()) == pytest.approx(1 / 6 / 3**0.5, rel=0.01)
    assert abs(float(kernel.mean())) < 0.003
    assert 0.99 / 5 < float(np.abs(alone).max()) <= 1 / 5


def plain_standardise(x):
    m = x.mean((0, 2, 3))
    v = x.var((0, 2, 3))
    wide = lambda s: s[None, :, None, None]
    return (x - wide(m)) / jnp.sqrt(wide(v) + EPS), m, v


def three_derivatives(f):
    """Value, jvp, gradient, Hessian-vector product, third derivative along d, d."""
    x, d, target = np.random.default_rng(0).normal(size=(3, 3, 2, 3, 4))

    def loss(x):
        y, m, v = f(x)
        return jnp.sum((y - target) ** 3) + jnp.sum(m**3) + jnp.sum(v**3)

    along = lambda x: jnp.vdot(jax.grad(loss)(x), d)
    hvp = lambda x: jax.jvp(jax.grad(loss), (x,), (d,))
    return jax.jvp(f, (x,), (d,)), hvp(x), jax.jvp(jax.grad(along), (x,), (d,))


@functools.cache
def of_the_formula():
    return jax.jit(lambda: three_derivatives(plain_standardise))()


def test_standardise_is_its_formula_in_three_derivatives(float64):
    found = jax.jit(lambda: three_derivatives(lambda x: standardise(x, None)))()
    same(found, of_the_formula())


@pytest.mark.parametrize("mapped", [jax.vmap, jax.pmap])
def test_standardise_over_shards_is_that_of_the_whole_batch(float64, mapped):
    """The derivative is taken outside the map; each shard has the global moments."""

    def over_shards(x):
        shards = jnp.stack(jnp.split(jnp.asarray(x), 2, -1))
        part = mapped(lambda x: standardise(x, "parts"), axis_name="parts")
        y, m, v = part(shards)
        return jnp.concatenate(y, -1), m[0], v[1]

    same(jax.jit(lambda: three_derivatives(over_shards))(), of_the_formula())
