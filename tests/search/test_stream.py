"""A hidden state that flows from batch to batch, separately in both halves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasjax.engine.devices import Devices
from nasjax.search import search
from nasjax.search.algorithms import compose, default_settings
from nasjax.search.base import Algorithm
from nasjax.search.bilevel import Training
from nasjax.spaces import darts
from nasjax.tasks.base import Task

SPACE = darts(("skip_connect", "dil_conv_3x3"))
LENGTH, KEPT, ROUNDS = 5, 0.9, 7
SEQUENCES = {
    half: np.random.default_rng(seed).normal(size=50).astype(np.float32)
    for half, seed in (("weights", 0), ("arch", 1))
}


def memory(hidden, x):
    """h <- KEPT h + x along a sequence."""
    for value in x:
        hidden = KEPT * hidden + value
    return hidden


def task(axis):
    def outputs(w, mix, batch, train):
        hidden = memory(batch["batch_stats"]["hidden"], batch["x"])
        scale = sum(own.ops[:, 0].sum() for own in mix.values())
        stats = {**batch["batch_stats"], "hidden": jax.lax.stop_gradient(hidden)}
        return w * scale * hidden, stats

    def draw(part, key, step, order):
        if order is None:  # a look-ahead's, anywhere
            start = jax.random.randint(key, (), 0, len(part["x"]) - LENGTH)
        else:
            start = step * LENGTH
        return {"x": jax.lax.dynamic_slice_in_dim(part["x"], start, LENGTH)}

    loss = lambda out, batch: jnp.square(out - 1.0)
    init = lambda key: (jnp.float32(0.1), {"hidden": jnp.float32(0)})
    return Task(
        init, outputs, loss, loss, lambda out, batch: {}, draw, None, None,
        stream="hidden",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sentence", "weights_first"), [("darts_second", False), ("darts_first", True)]
)
def test_both_halves_are_one_long_sequence_each(sentence, weights_first):
    """Alpha moves every second step from step 2 on, so it sees fewer segments."""
    own = default_settings(sentence)
    own.every = 2
    algorithm: Algorithm = compose(sentence, {sentence: own})
    algorithm = algorithm._replace(weights_first=weights_first)
    training = Training(
        lambda rate, clip=True: optax.sgd(rate), lambda step: 1e-3, 4, 2, 1
    )
    made = search(algorithm, SPACE, task, training, Devices.of(1))
    data = {half: {"x": jnp.array(x)} for half, x in SEQUENCES.items()}
    state, seen = jax.jit(made.init)(jax.random.key(0)), 0
    programs = {
        own.name: jax.jit(
            lambda state, own=own: own.step(
                state, *own.batches.draw(made.problem.task, data, state)
            )
        )
        for own in made.programs
    }
    for index in range(ROUNDS):
        for program in made.programs:
            if program.cadence.due(index):
                before, (state, _) = state, programs[program.name](state)
                if program.name == "alpha":
                    seen += 1
                    moved = optax.tree.sub(state.arch, before.arch)
                    assert optax.tree.norm(moved) > 0
        trained = memory(0, SEQUENCES["weights"][: (index + 1) * LENGTH])
        np.testing.assert_allclose(state.batch_stats["hidden"], trained, rtol=1e-4)
        judged = memory(0, SEQUENCES["arch"][: seen * LENGTH])
        np.testing.assert_allclose(state.levels["alpha"], judged, rtol=1e-4, atol=1e-6)
    assert seen == 3
