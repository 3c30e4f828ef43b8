"""Operations of a user: sentences for modules that are none, and the NHWC adapter."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.pictures import refused

from nasjax import nets
from nasjax.nets.layers import Style
from nasjax.nets.operations import OPERATIONS, is_parametric
from nasjax.spaces import CellSpace, Macro


@pytest.fixture(autouse=True)
def table():
    before = dict(OPERATIONS)
    yield
    OPERATIONS.clear()
    OPERATIONS.update(before)


class Block(nn.Module):
    """An ordinary flax module on [B, H, W, C]."""

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x, train):
        y = nn.Conv(self.features, (3, 3), self.stride, use_bias=False)(nn.relu(x))
        return nn.BatchNorm(use_running_average=not train)(y)


def calling(function):
    """A factory of modules that call (module, x, train)."""

    class Own(nn.Module):
        stride: int

        @nn.compact
        def __call__(self, x, train):
            return function(self, x, train)

    return lambda channels, stride, style: Own(stride)


strided = lambda own, x: x[:: own.stride, :, :: own.stride]
WRONG = {
    "layout": (lambda c, s, style: Block(c, s), "return nasjax.nets.nhwc(MODULE)"),
    "one argument": (lambda c, s, style: nn.Conv(c, (3, 3), s), "nhwc(MODULE)"),
    "channels": (
        calling(lambda own, x, train: jnp.concatenate([strided(own, x)] * 2, 1)),
        "turns a map of shape [9, 2, 6, 3] into [9, 4, 6, 3]; expected [9, 2, 6, 3]",
    ),
    "stride": (calling(lambda own, x, train: x), "stride 2, turns a map of shape"),
    "sides": (
        calling(
            lambda own, x, train: x[own.stride - 1 :: own.stride, :, :: own.stride]
        ),
        "stride s makes sides of ceil(n / s)",
    ),
    "tuple": (
        calling(lambda own, x, train: (strided(own, x), 0)),
        "returns a tuple; expected one map [H, C, W, B]",
    ),
    "integers": (
        calling(lambda own, x, train: strided(own, x).astype(int)),
        "returns numbers of type int32; expected floats",
    ),
    "evaluation": (
        calling(lambda own, x, train: strided(own, x) if train else x.mean()),
        "into []; expected",
    ),
    "random": (
        calling(lambda own, x, train: nn.Dropout(0.5)(strided(own, x), not train)),
        "without random numbers",
    ),
    "collection": (
        calling(
            lambda own, x, train: (
                own.variable("memory", "x", jnp.zeros, ()).value + strided(own, x)
            )
        ),
        "has variables memory",
    ),
    "no module": (lambda c, s, style: lambda x, train: x, "is a function; expected"),
    "factory": (lambda channels: Block(channels), "cannot be made (TypeError"),
}


def supernet(name):
    space = CellSpace("own", (name, "skip_connect"), nodes=1)
    return space, nets.supernet(space, Macro.of(space, 2, 3, "cifar"), 3)


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_operation_is_said_when_the_supernet_is_built(case):
    OPERATIONS["own"], words = WRONG[case]
    space = CellSpace("own", ("own", "skip_connect"), nodes=1)
    text = refused(words, supernet, "own")
    assert "The operation 'own', with" in text
    refused(words, nets.count_supernet, space, 2, 3, 3, 8)


def test_a_module_of_flax_as_an_operation():
    """Its output is that of the module itself, in both modes; it is trained."""
    OPERATIONS["own"] = lambda c, s, style: nets.nhwc(Block(c, s))
    assert is_parametric("own")
    space, model = supernet("own")
    images = jnp.ones((2, 8, 8, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    names = {path[-1].key for path, _ in jax.tree.leaves_with_path(variables)}
    assert {"kernel", "scale", "mean", "var"} <= names
    assert nets.count_supernet(space, 2, 3, 3, 8)["params"] > 0

    op, plain = OPERATIONS["own"](4, 2, Style(True, "conv")), Block(4, 2)
    x = jax.random.normal(jax.random.key(1), (7, 4, 5, 3))
    values = op.init(jax.random.key(0), x, True)
    inner = {group: own["module"] for group, own in values.items()}
    for train in True, False:
        y, _ = op.apply(values, x, train, mutable=["batch_stats"])
        images = jnp.transpose(x, (3, 0, 2, 1))
        expected, _ = plain.apply(inner, images, train, mutable=["batch_stats"])
        assert y.shape == (4, 4, 3, 3)
        np.testing.assert_array_equal(jnp.transpose(y, (3, 0, 2, 1)), expected)


def test_the_adapter_passes_the_mode_to_whatever_argument_there_is():
    class Mode(nn.Module):
        def __call__(self, x, deterministic):
            return x * deterministic

    for train in True, False:
        x = jnp.ones((2, 3, 2, 1))
        assert nets.nhwc(Mode()).apply({}, x, train).max() == (not train)
        assert nets.nhwc(nn.Conv(3, (1, 1))).init_with_output(
            jax.random.key(0), x, train
        )[0].shape == (2, 3, 2, 1)
