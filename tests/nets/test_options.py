"""Rematerialisation, precision, and the number of bodies that a deep network compiles."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tiny import TwoCells

from nasjax.core.errors import UserError
from nasjax.nets import genotype_network, supernet
from nasjax.nets.count import equations
from nasjax.nets.operations import OPERATIONS
from nasjax.spaces import Macro, darts
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.mix import Weights

SPACE = darts(("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3"))
KEY = jax.random.key(0)
DRAWS = np.random.default_rng(0)
IMAGES = DRAWS.normal(size=(4, 8, 8, 1))
MIX = {kind: Weights(DRAWS.uniform(size=(14, 4))) for kind in SPACE.types}


class OneCell(Macro):
    """A single normal cell."""

    reductions = ()


def gradients(model, mix):
    """((loss, (logits, statistics)), gradients) in the current precision."""
    variables = jax.eval_shape(model.init, KEY, IMAGES)
    draws = np.random.default_rng(1)
    values = lambda leaf: draws.uniform(-0.5, 0.5, leaf.shape)
    w = jax.tree.map(values, variables["params"])
    stats = jax.tree.map(lambda leaf: np.ones(leaf.shape), variables["batch_stats"])

    @jax.jit
    def run(w, mix, stats, images):
        def loss(w, mix):
            given = {"params": w, "batch_stats": stats}
            out, after = model.apply(given, mix, images, train=True)
            return jnp.square(out.logits - 1).sum(), (out.logits, after)

        return jax.value_and_grad(loss, (0, 1), has_aux=True)(w, mix)

    return jax.device_get(run(w, mix, stats, IMAGES))


@pytest.fixture(scope="module")
def exact():
    """`gradients` of a supernet that recomputes nothing, in float64."""
    with jax.enable_x64(True):
        return gradients(supernet(SPACE, TwoCells(4, 2), 3, "shift", None, "none"), MIX)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("remat", ["edge", "cell"])
def test_what_is_computed_again_is_the_same(exact, float64, remat):
    model = supernet(SPACE, TwoCells(4, 2), 3, "shift", None, remat)
    jax.tree.map(close, gradients(model, MIX), exact)


@pytest.mark.slow
def test_a_genotypes_network_can_be_computed_again_too(float64):
    pairs = (("dil_conv_3x3", 0), ("skip_connect", 1)) + (
        ("max_pool_3x3", 0), ("skip_connect", 2)
    ) * 3  # fmt: skip
    genotype = Genotype("darts", dict.fromkeys(SPACE.types, pairs), (2, 3, 4, 5))
    plain, again = (
        gradients(genotype_network(genotype, OneCell(2, 1), 3, remat=option), {})
        for option in ("auto", "cell")
    )
    jax.tree.map(close, again, plain)


@pytest.mark.slow
@pytest.mark.parametrize("spelling", ["shift", "conv"])
def test_bfloat16_maps_leave_weights_statistics_and_losses_float32(exact, spelling):
    """Compared with the same network in float64, in the "shift" spelling."""
    (loss, (logits, stats)), grads = gradients(
        supernet(SPACE, TwoCells(4, 2), 3, spelling, dtype="bfloat16"), MIX
    )
    kept = jax.tree.leaves((loss, logits, stats, grads))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype("float32")}
    (_, (expected, _)), slopes = exact
    spread = float(np.abs(expected).max())
    assert 1e-4 * spread < float(np.abs(logits - expected).max()) < 0.1 * spread
    flat = lambda grads: np.concatenate([g.ravel() for g in jax.tree.leaves(grads)])
    found, slopes = flat(grads), flat(slopes)
    alike = found @ slopes / np.linalg.norm(found) / np.linalg.norm(slopes)
    assert float(alike) > 0.97


@pytest.mark.parametrize("wrong", [{"remat": "egde"}, {"dtype": "bf16"}])
def test_an_unknown_option_is_named(wrong):
    with pytest.raises(UserError, match="did you mean|Known: "):
        supernet(SPACE, Macro(2, 3), 3, **wrong)


def test_an_operation_may_return_a_wider_type(monkeypatch):
    class Scaled(nn.Module):
        stride: int

        @nn.compact
        def __call__(self, x, train):
            scale = self.param("scale", nn.initializers.ones, (1, 1, 1, 1))
            return x[:: self.stride, :, :: self.stride] * scale

    monkeypatch.setitem(
        OPERATIONS, "scaled", lambda channels, stride, style: Scaled(stride)
    )
    space = darts(("none", "scaled"))
    model = supernet(space, Macro(2, 1), 3, "shift", dtype="bfloat16")
    images = jax.random.normal(KEY, (4, 8, 8, 1))
    variables = jax.tree.map(
        lambda leaf: np.ones(leaf.shape, leaf.dtype),
        jax.eval_shape(model.init, KEY, images),
    )
    mix = {kind: Weights(jnp.ones((14, 2))) for kind in space.types}
    out, _ = jax.jit(functools.partial(model.apply, train=True))(variables, mix, images)
    assert jnp.isfinite(out.logits).all()


def test_initial_values_are_drawn_apart_and_within_their_bounds():
    model = supernet(SPACE, TwoCells(8, 2), 3, "shift")
    init, images = jax.jit(model.init), np.zeros((1, 8, 8, 1), np.float32)
    one, other = (jax.device_get(init(jax.random.key(i), images)) for i in range(2))
    kernels = [
        (path, a, b)
        for (path, a), b in zip(
            jax.tree.leaves_with_path(one["params"]),
            jax.tree.leaves(other["params"]),
            strict=True,
        )
        if path[-1].key == "kernel"
    ]
    values = np.concatenate([a.ravel() for _, a, _ in kernels])
    assert len(np.unique(values)) > 0.99 * len(values)
    for path, a, b in kernels:
        assert (a != b).mean() > 0.99
        names = [entry.key for entry in path]
        inner = a.shape[1:] if "edges" in names or "strided" in names else a.shape
        depthwise = any(name.startswith("Depthwise") for name in names)
        bound = np.prod(inner[:2] if depthwise else inner[:-1]) ** -0.5
        assert 0.8 * bound < np.abs(a).max() <= bound
        assert abs(a.mean()) < 0.2 * bound


def test_depth_adds_one_body_from_8_to_20_cells():
    """A body is a scan over edges; it has one max pool."""

    def bodies(cells):
        space = darts(("max_pool_3x3", "skip_connect"))
        model = supernet(space, Macro(4, cells), 10, "shift")
        images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
        weights = Weights(jax.ShapeDtypeStruct((14, 2), jnp.float32))
        mix = dict.fromkeys(space.types, weights)
        variables = jax.eval_shape(model.init, KEY, images)
        apply = lambda v, mix, x: model.apply(v, mix, x, train=True)
        program = jax.make_jaxpr(apply)(variables, mix, images)
        names = [eqn.primitive.name for eqn, _ in equations(program.jaxpr)]
        return names.count("max_pool")

    assert (bodies(8), bodies(20)) == (10, 11)
