"""Penalties and smoothing around a search with two networks (SANAS)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import harness

from nasjax.core.errors import UserError
from nasjax.engine import optim
from nasjax.search import Training
from nasjax.search.base import Smoothing
from nasjax.search.bilevel import Penalty
from nasjax.search.penalties.hessian import hessian
from nasjax.spaces import darts

SPACE = darts(("skip_connect", "dil_conv_3x3"))
TRAINING = Training(
    lambda rate, clip=True: optim.sgd(rate, 0.9, 3e-4, 5.0 * clip),
    optim.cosine(0.05, 0.005, 3, 2),
    epochs=3,
    steps_per_epoch=2,
    warmup_epochs=0,
)


def moved(sentence, program, **changes):
    """Metrics of the first step of a program, with changes of the algorithm."""
    algorithm = harness.composed(sentence, harness.config())._replace(**changes)
    search = harness.built(algorithm, SPACE, TRAINING)
    data = jax.tree.map(jnp.asarray, harness.halves())
    state = jax.jit(search.init)(jax.random.key(0))
    if program == "w2":
        state = state._replace(step=state.step + 1)
    own = search.program(program)
    return jax.jit(
        lambda state: own.step(
            state, *own.batches.draw(search.problem.task, data, state)
        )
    )(state)[1]


def constant(space, relaxation, final):
    return Penalty("constant", lambda val_loss, w, arch, batch: jnp.float32(7))


@pytest.mark.parametrize("sentence", ["darts_first", "darts_first+sanas"])
def test_a_penalty_of_alpha_counts_once(sentence):
    """It does not depend on weights, so it is not in the losses of both networks."""
    plain = moved(sentence, "alpha")["val_loss"]
    found = moved(sentence, "alpha", penalties=(constant,))["val_loss"]
    np.testing.assert_allclose(found - plain, 7, rtol=1e-5)


@pytest.mark.parametrize("program", ["weights", "w2"])
def test_smoothing_reaches_the_steps_of_all_networks(program):
    """A "perturbation" to weights 0 leaves what a search with an alpha of 0 has."""
    nothing = lambda project: (
        lambda loss, ops, key, eps: jax.tree.map(
            lambda leaf: 0 * leaf + 0 * loss(ops), ops
        )
    )
    off = Smoothing("off", nothing, lambda progress: 1.0, 2.0)
    loss = {"weights": "loss", "w2": "w2_loss"}[program]
    plain = moved("darts_first+sanas", program)[loss]
    smooth = moved("darts_first+sanas", program, smoothing=off)[loss]
    assert abs(float(plain - smooth)) > 1e-3


def test_its_size_follows_the_epoch():
    """Epochs of two steps: the third step is in the second epoch of three."""
    seen = []
    growing = Smoothing(
        "growing", lambda project: lambda loss, ops, key, eps: ops, seen.append, 0.0
    )
    algorithm = harness.composed("darts_first", harness.config())
    search = harness.built(algorithm._replace(smoothing=growing), SPACE, TRAINING)
    data = jax.tree.map(jnp.asarray, harness.halves())
    state, own = search.init(jax.random.key(0)), search.program("weights")
    for step in (0, 1, 2, 5):
        at = state._replace(step=jnp.int32(step))
        own.step(at, *own.batches.draw(search.problem.task, data, at))
    np.testing.assert_allclose(seen, [0, 0, 1 / 3, 2 / 3], rtol=1e-6)


def test_its_cost_is_counted_for_all_networks():
    algorithm = harness.composed("darts_first+sanas", harness.config())
    off = Smoothing("off", lambda project: None, lambda progress: 1.0, 2.0)
    cost = {}
    for smoothing in (None, off):
        search = harness.built(algorithm._replace(smoothing=smoothing), SPACE, TRAINING)
        cost[smoothing] = {own.name: own.cost for own in search.programs}
    added = {name: cost[off][name] - cost[None][name] for name in cost[off]}
    assert added == {"alpha": 0, "weights": 2, "w2": 2}


def test_a_curvature_in_alpha_needs_an_alpha_that_moves_continuously():
    with pytest.raises(UserError, match="set --config.collapse.penalty=0"):
        moved("random_search", "alpha", penalties=(hessian(0.1),))
