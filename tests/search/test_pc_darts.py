"""PC-DARTS: partial channels, edge weights and their use in decoding, by hand."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.harness import case, composed, config, forget

from configs.pc_darts import get_config
from nasjax.core.errors import UserError
from nasjax.nets import Mixed, count_supernet
from nasjax.nets.layers import Style
from nasjax.search.algorithms.pc_darts import Partial, pooled, shuffled, weighted
from nasjax.spaces import DARTS_8, SPACES, darts
from nasjax.spaces.mix import Weights
from nasjax.spaces.rules import discretise
from nasjax.tasks.base import At

SPACE, STYLE = SPACES["darts"], Style(True, "shift")


@pytest.mark.parametrize(("classes", "counted"), [(10, 299_578), (100, 322_708)])
def test_parameters_of_the_original(classes, counted):
    edge = functools.partial(Partial, parts=4)
    found = count_supernet(darts(DARTS_8), 16, 8, classes, 32, 3, "cifar", edge)
    assert found["params"] == counted


def test_the_supernet_of_imagenet():
    edge = functools.partial(Partial, parts=2)
    found = count_supernet(darts(DARTS_8), 16, 8, 1000, 224, 3, "imagenet", edge)
    assert found["params"] == 956_512


def test_channels_are_shuffled_as_in_the_original():
    """16 channels in 4 groups: 0, 4, 8, 12, 1, 5, ... (reshape, transpose, flatten)."""
    x = jnp.arange(16.0).reshape(1, 16, 1, 1)
    expected = np.arange(16).reshape(4, 4).T.ravel()
    np.testing.assert_array_equal(shuffled(x, 4).ravel(), expected)


@pytest.mark.parametrize("side", [4, 5])
def test_channels_past_a_reduction_are_pooled(side):
    x = np.random.default_rng(0).normal(size=(side, 3, side, 2))
    half = -(-side // 2)
    expected = np.empty((half, 3, half, 2))
    for i, j in np.ndindex(half, half):
        expected[i, :, j] = x[2 * i : 2 * i + 2, :, 2 * j : 2 * j + 2].max((0, 2))
    np.testing.assert_array_equal(pooled(jnp.asarray(x)), jnp.asarray(expected))
    slope = jax.grad(lambda x: pooled(x).sum())(jnp.zeros_like(x))
    assert slope.sum() == half * half * 6 and slope[0, 0, 0, 0] == 1


@pytest.mark.parametrize("stride", [1, 2])
def test_the_weight_of_an_edge_scales_the_channels_that_went_past(stride):
    edge = Partial(("skip_connect", "max_pool_3x3"), 8, stride, STYLE)
    x = jax.random.normal(jax.random.key(0), (4, 8, 4, 3))
    weights = Weights(jnp.array([0.3, 0.7]), jnp.array(1.0))
    variables = edge.init(jax.random.key(1), x, weights, True)
    run = functools.partial(edge.apply, variables, x, train=False)
    whole, half = run(weights), run(weights._replace(edges=jnp.array(0.5)))
    np.testing.assert_allclose(half, whole / 2, rtol=1e-6)
    past = x[:, 2:] if stride == 1 else pooled(x[:, 2:])
    back = jnp.argsort(shuffled(jnp.arange(8).reshape(1, 8, 1, 1), 4).ravel())
    np.testing.assert_allclose(whole[:, back][:, 2:], past, rtol=1e-6)


def test_one_part_is_darts():
    """K = 1: every channel is mixed, and the shuffle changes nothing."""
    names = ("skip_connect", "sep_conv_3x3")
    edge, plain = Partial(names, 4, 1, STYLE, parts=1), Mixed(names, 4, 1, STYLE)
    x = jax.random.normal(jax.random.key(0), (4, 4, 4, 3))
    weights = Weights(jnp.array([0.3, 0.7]))
    variables = edge.init(jax.random.key(1), x, weights, True)
    inner = {kind: own["Mixed_0"] for kind, own in variables.items()}
    found = edge.apply(variables, x, weights, train=False)
    np.testing.assert_array_equal(found, plain.apply(inner, x, weights, train=False))


def test_beta_is_a_softmax_over_the_edges_of_a_node():
    relaxation = weighted(SPACE)
    arch = relaxation.init(jax.random.key(0))
    arch["normal_edges"] = jnp.arange(14.0)
    shares = np.asarray(relaxation.mix(arch, At())["normal"].edges)
    ends = np.cumsum([0, 2, 3, 4, 5])
    for a, b in itertools.pairwise(ends):
        raised = np.exp(np.arange(a, b) - b)
        np.testing.assert_allclose(shares[a:b], raised / raised.sum(), rtol=1e-6)


def test_beta_says_which_edges_are_kept_and_not_which_operations():
    relaxation = weighted(SPACE)
    arch = relaxation.init(jax.random.key(0))
    before = discretise(relaxation.mix(arch, At()), SPACE)
    beta = jnp.zeros(14).at[jnp.array([2, 3, 4])].set(jnp.array([9.0, 0.0, 9.0]))
    after = discretise(relaxation.mix(arch | {"normal_edges": beta}, At()), SPACE)
    assert sorted(source for _, source in after.cells["normal"][2:4]) == [0, 2]
    best = relaxation.mix(arch, At())["normal"].ops[:, 1:].argmax(1)
    for op, source in after.cells["normal"][2:4]:
        row = SPACE.edges.index((source, 3))
        assert op == SPACE.primitives[1 + int(best[row])]
    assert before.cells["reduce"] == after.cells["reduce"]


def test_alpha_and_beta_move_together():
    """Alpha and beta move by every direction; perturbations do not change beta."""
    for sentence in ("pc_darts", "amended+pc_darts", "pc_darts+zarts_mgs"):
        this = case(sentence, "one")
        state = jax.jit(this.search.init)(jax.random.key(0))
        moved, _ = this.programs["alpha"](state, this.data)
        start = this.search.init(jax.random.key(0)).arch
        assert set(start) == {"normal", "reduce", "normal_edges", "reduce_edges"}
        for kind, own in start.items():
            assert (moved.arch[kind] != own).any(), f"{sentence}: {kind}"
    smoothed = composed("pc_darts+sdarts_rs", config())
    assert smoothed.smoothing and smoothed.relaxation is weighted
    forget()


def test_widths_that_cannot_be_split():
    edge = Partial(("skip_connect",), 6, 1, STYLE, parts=4)
    with pytest.raises(UserError, match="multiple of 8"):
        edge.init(jax.random.key(0), jnp.ones((2, 6, 2, 1)), Weights(jnp.ones(1)), True)


def test_the_settings_of_the_code():
    found = get_config("cifar10")
    search = found.search
    assert (search.rate, search.rate_min, search.batch) == (0.1, 0.0, 256)
    assert (search.warmup_epochs, search.epochs) == (15, 50)
    assert (found.arch.darts_first.rate, found.arch.pc_darts.parts) == (6e-4, 4)
    found = get_config("imagenet")
    assert (found.search.rate, found.search.warmup_epochs) == (0.5, 35)
    assert (found.arch.darts_first.rate, found.arch.pc_darts.parts) == (6e-3, 2)
