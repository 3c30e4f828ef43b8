from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.harness import built

from nasjax.engine import optim
from nasjax.engine.devices import Devices
from nasjax.search import Algorithm, SearchState, Training
from nasjax.search.algorithms.zarts import zarts
from nasjax.search.directions import zero_order
from nasjax.spaces import darts
from nasjax.zeroth import mgs
from nasjax.zeroth.base import Proposal, ZerothOrder


@pytest.mark.parametrize("chunk", [1, 2, 3, 4])
def test_chunks_of_candidates_change_nothing(chunk):
    arch = {"normal": jnp.linspace(-1, 1, 6).reshape(3, 2)}
    method = mgs(4, lambda count: 0.1, 1.0, 0.5, "likelihood")
    opt = method.init(arch, jax.random.key(0))
    state = SearchState(*[None] * 4, arch, None, opt, {})

    def objective(state, arch, train, val):
        return jnp.sum(jnp.sin(arch["normal"]) * val)

    def step(chunk):
        problem = SimpleNamespace(devices=Devices.of(1).splitting("candidates"))
        direction = zero_order(problem, "mgs", method, objective, 1, chunk=chunk)
        run = jax.jit(lambda val: direction.step(state, None, val, jax.random.key(1)))
        return run(jnp.float32(2.0))

    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, step(chunk), step(0))


def test_zarts_candidates_train_at_the_rate_of_the_weights():
    """Two steps of SGD by hand at the rate of the third epoch, with fresh momentum,
    weight decay and clipping, for each of two candidates."""
    space, clip, step = darts(("skip_connect", "nor_conv_1x1")), 0.5, 5
    training = Training(
        optimizer=lambda rate, clips=True: optim.sgd(rate, 0.9, 3e-2, clip * clips),
        rate=optim.cosine(0.4, 0.04, 4, 2),
        epochs=4,
        steps_per_epoch=2,
        warmup_epochs=0,
    )

    def propose(state, x, key, guide=None):
        return Proposal(jax.tree.map(lambda a: jnp.stack([a - 1, 2 * a]), x), None)

    def update(state, x, proposal, losses):
        return x, state, {f"loss_{i}": losses[i] for i in range(2)}

    method = ZerothOrder(lambda x, key: (), propose, update, 2)
    settings = SimpleNamespace(
        every=1, inner_steps=2, inner_rate=0.0, inner_part="weights", chunk=0,
        split="candidates",
    )  # fmt: skip
    algorithm = zarts(settings, Algorithm(None), "spy", lambda training: method)
    search = built(algorithm, space, training)
    state = jax.jit(search.init)(jax.random.key(0))
    grid = np.linspace(-1, 1, 28, dtype=np.float32).reshape(14, 2)
    arch = {kind: grid + i for i, kind in enumerate(space.types)}
    state = state._replace(step=jnp.int32(step), arch=arch)
    draws = np.random.default_rng(0)

    def batch(*shape):
        image = draws.normal(size=(*shape, 8, 8, 1)).astype(np.float32)
        return {"image": image, "label": draws.integers(0, 3, shape)}

    train, val = batch(2, 6), batch(6)
    _, metrics = jax.jit(search.program("alpha").step)(state, train, val)
    problem = search.problem
    value, slope = jax.jit(problem.val), jax.jit(jax.grad(problem.train))
    at = lambda batch: problem.placed(batch, state, jax.random.key(0))
    now = 0.04 + 0.36 * (1 + np.cos(np.pi * (step // 2) / 4)) / 2
    for i, candidate in enumerate((
        {kind: alpha - 1 for kind, alpha in arch.items()},
        {kind: 2 * alpha for kind, alpha in arch.items()},
    )):  # fmt: skip
        w = jax.tree.map(np.asarray, state.w)
        momentum = jax.tree.map(np.zeros_like, w)
        for j in range(2):
            own = {name: leaf[j] for name, leaf in train.items()}
            g = jax.tree.map(np.asarray, slope(w, candidate, at(own)))
            size = np.sqrt(sum(np.square(leaf).sum() for leaf in jax.tree.leaves(g)))
            assert size > clip
            momentum = jax.tree.map(
                lambda m, g, w, size=size: 0.9 * m + g * clip / size + 3e-2 * w,
                momentum, g, w,
            )  # fmt: skip
            w = jax.tree.map(lambda w, m: w - np.float32(now) * m, w, momentum)
        expected = value(w, candidate, at(val))
        np.testing.assert_allclose(metrics[f"loss_{i}"], expected, rtol=1e-5)
