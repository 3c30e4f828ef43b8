"""The curvature's monitor and the Hessian penalty on the toy network, against the whole Hessian."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.harness import built
from support.toy import toy

from nasjax.core.keys import derive
from nasjax.data.augment import Augment, prepare, random_indices
from nasjax.engine import optim
from nasjax.monitors.curvature import curvature
from nasjax.search import Training, compose
from nasjax.search.penalties.hessian import hessian
from nasjax.spaces import darts
from nasjax.spaces.rules import one_hot
from nasjax.tasks.base import At
from nasjax.tasks.images import accuracy, cross_entropy

SPACE = darts(("skip_connect", "avg_pool_3x3", "dil_conv_3x3"))
ADAM = SimpleNamespace(every=1, rate=3e-4, b1=0.5, b2=0.999, weight_decay=1e-3)
AUGMENT = Augment()
ALGORITHM = compose("darts_first", {"darts_first": ADAM})
TRAINING = Training(
    optimizer=lambda rate, clip=True: optim.sgd(rate, 0.9, 3e-4, 5.0 * clip),
    rate=optim.cosine(0.05, 0.005, 3, 2),
    epochs=3,
    steps_per_epoch=2,
    warmup_epochs=0,
)
RNG = np.random.default_rng(0)
PART = {
    "image": RNG.integers(0, 256, (20, 8, 8, 1)).astype(np.uint8),
    "label": RNG.integers(0, 3, 20).astype(np.int32),
}


@pytest.fixture(scope="module")
def searched():
    """(search, its state with an alpha that is not small, images and labels seen)."""
    search = built(ALGORITHM, SPACE, TRAINING)
    state = jax.jit(search.init)(jax.random.key(0))
    draw = lambda leaf: jax.random.normal(jax.random.key(1), leaf.shape)
    state = state._replace(arch=jax.tree.map(draw, state.arch))
    key = derive(state.key, "curvature", state.step)
    index = random_indices(derive(key, "index"), 12, 20)
    return (
        search,
        state,
        prepare(PART["image"][index], None, AUGMENT),
        PART["label"][index],
    )


def whole_hessian(f, arch):
    """[n, n], n = 84, of any function of alpha."""
    flat, restore = jax.flatten_util.ravel_pytree(arch)
    return np.asarray(jax.jit(jax.hessian(lambda x: f(restore(x))))(flat), np.float64)


def test_what_is_measured_is_that_of_the_whole_hessian(searched):
    search, state, images, label = searched
    variables = {"params": state.w, "batch_stats": state.batch_stats}

    def logits(mix):
        return toy(SPACE, 3).apply(variables, mix, images, train=True)[0].logits

    matrix = whole_hessian(
        lambda arch: cross_entropy(
            logits(search.problem.relaxation.mix(arch, At())), label
        ),
        state.arch,
    )
    values = np.linalg.eigvalsh((matrix + matrix.T) / 2)
    monitor = curvature(search, 2, images=12, products=84, probes=400)
    assert [monitor.due(epoch, 6) for epoch in range(6)] == [1, 0, 1, 0, 1, 1]
    found = jax.jit(monitor.program)(state, PART)
    size = np.abs(values).max()
    np.testing.assert_allclose(found["eigenvalue"], values[-1], atol=1e-3 * size)
    strongest = values[np.abs(values).argmax()]
    np.testing.assert_allclose(
        found["eigenvalue_strongest"], strongest, atol=1e-3 * size
    )
    off = matrix - np.diag(np.diag(matrix))
    error = np.sqrt(2 * (off**2).sum() / 400)  # of the mean, Hutchinson
    assert abs(found["hessian_trace"] - np.trace(matrix)) < 5 * error
    mix = search.mix(state)
    assert found["mixed_accuracy"] == accuracy(logits(mix), label)
    chosen = one_hot(search.genotype(jax.device_get(mix)), SPACE)
    assert found["discretised_accuracy"] == accuracy(logits(chosen), label)
    few = curvature(search, 2, images=12, products=2, probes=0)
    found = jax.eval_shape(few.program, state, PART)
    assert "hessian_trace" not in found


def test_the_penalty_is_the_length_of_the_hessian_along_a_random_direction(searched):
    search, state, images, label = searched
    with jax.enable_x64(True):
        wide = lambda leaf: jnp.asarray(leaf, jnp.float64)
        w, arch, stats = jax.tree.map(wide, (state.w, state.arch, state.batch_stats))
        batch = {
            "image": wide(images), "label": label, "batch_stats": stats,
            "key": jax.random.split(jax.random.key(0), 12), "at": At(jax.random.key(5)),
        }  # fmt: skip
        plain = jax.jit(search.problem.val)
        matrix = whole_hessian(lambda arch: plain(w, arch, batch), arch)
        v = jax.random.normal(derive(batch["at"].key, "penalty"), (84,), jnp.float64)
        expected = 3 * np.linalg.norm(matrix @ (v / jnp.linalg.norm(v)))
        algorithm = ALGORITHM._replace(penalties=(hessian(3.0),))
        penalised = built(algorithm, SPACE, TRAINING)
        assert penalised.name == "first_order_hessian"
        descend = jax.jit(jax.value_and_grad(penalised.problem.val, argnums=1))
        value, grads = descend(w, arch, batch)
        np.testing.assert_allclose(value - plain(w, arch, batch), expected, rtol=1e-9)
        # And its derivative, along a direction, by central differences.
        way = jax.tree.map(jnp.sign, arch)
        at = lambda h: descend(
            w, jax.tree.map(lambda a, d: a + h * d, arch, way), batch
        )[0]
        pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(way), strict=True)
        slope = sum(jnp.vdot(g, d) for g, d in pairs)
        np.testing.assert_allclose((at(1e-6) - at(-1e-6)) / 2e-6, slope, rtol=1e-5)
