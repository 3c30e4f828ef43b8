"""Rematerialisation, precision, and how many bodies a deep net compiles."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TwoCells

from nasjax.errors import UserError
from nasjax.genotype import Genotype
from nasjax.nets import genotype_network, supernet
from nasjax.nets.count import equations
from nasjax.nets.operations import OPERATIONS
from nasjax.spaces import DARTS_8, Macro, darts

SPACE = darts(("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3"))
KEY = jax.random.key(0)


def gradients(model, mix):
    images = jax.random.normal(KEY, (4, 8, 8, 1))
    variables = jax.jit(model.init)(KEY, images)

    def loss(w, mix):
        given = {**variables, "params": w}
        out, stats = model.apply(given, mix, images, train=True)
        return jnp.square(out.logits - 1).sum(), (out.logits, stats)

    grad = jax.value_and_grad(loss, (0, 1), has_aux=True)
    return jax.jit(grad)(variables["params"], mix)


def random_mix():
    keys = dict(zip(SPACE.types, jax.random.split(KEY), strict=True))
    return {kind: jax.random.uniform(key, (14, 4)) for kind, key in keys.items()}


@pytest.mark.parametrize("remat", ["edge", "cell"])
def test_what_is_computed_again_is_the_same(float64, remat):
    plain, again = (
        gradients(
            supernet(SPACE, TwoCells(2, 2), 3, "shift", None, option), random_mix()
        )
        for option in ("none", remat)
    )
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    jax.tree.map(close, again, plain)


@pytest.mark.slow
def test_a_genotypes_network_can_be_computed_again_too(float64):
    pairs = (("dil_conv_3x3", 0), ("skip_connect", 1)) * 4
    genotype = Genotype("darts", dict.fromkeys(SPACE.types, pairs), (2, 3, 4, 5))
    plain, again = (
        gradients(genotype_network(genotype, Macro(2, 2), 3, remat=option), {})
        for option in ("auto", "cell")
    )
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
    jax.tree.map(close, again, plain)


@pytest.mark.slow
@pytest.mark.parametrize("spelling", ["shift", "conv"])
def test_bfloat16_maps_leave_weights_statistics_and_losses_float32(spelling):
    (loss, (logits, stats)), grads = gradients(
        supernet(SPACE, TwoCells(4, 2), 3, spelling, dtype="bfloat16"), random_mix()
    )
    kept = jax.tree.leaves((loss, logits, stats, grads))
    assert {leaf.dtype for leaf in kept} == {jnp.dtype("float32")}
    (_, (expected, _)), exact = gradients(
        supernet(SPACE, TwoCells(4, 2), 3, spelling), random_mix()
    )
    spread = float(jnp.abs(expected).max())
    assert 1e-4 * spread < float(jnp.abs(logits - expected).max()) < 0.1 * spread
    flat = lambda grads: jnp.concatenate([g.ravel() for g in jax.tree.leaves(grads)])
    found, exact = flat(grads), flat(exact)
    alike = found @ exact / jnp.linalg.norm(found) / jnp.linalg.norm(exact)
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
    variables = jax.jit(model.init)(KEY, images)
    mix = {kind: jnp.ones((14, 2)) for kind in space.types}
    out, _ = jax.jit(functools.partial(model.apply, train=True))(variables, mix, images)
    assert jnp.isfinite(out.logits).all()


def test_initial_values_are_drawn_apart_and_within_their_bounds():
    model = supernet(SPACE, Macro(8, 3), 3, "shift")
    images = jnp.zeros((1, 8, 8, 1))
    one, other = (jax.jit(model.init)(jax.random.key(i), images) for i in range(2))
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
        space = darts(DARTS_8)
        model = supernet(space, Macro(4, cells), 10, "shift")
        images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
        mix = dict.fromkeys(space.types, jax.ShapeDtypeStruct((14, 8), jnp.float32))
        variables = jax.eval_shape(model.init, KEY, images)
        apply = lambda v, mix, x: model.apply(v, mix, x, train=True)
        program = jax.make_jaxpr(apply)(variables, mix, images)
        names = [eqn.primitive.name for eqn, _ in equations(program.jaxpr)]
        return names.count("max_pool")

    assert (bodies(8), bodies(20)) == (10, 11)
