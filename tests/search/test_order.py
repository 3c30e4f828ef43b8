"""The order of a round: alpha before the weights, or after them (GDAS)."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.harness import built, halves, parts

from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import Programs
from nasjax.experiment import phases
from nasjax.monitors.supernet import supernet
from nasjax.search.base import Algorithm, Direction
from nasjax.search.bilevel import Training
from nasjax.search.relax import softmax
from nasjax.spaces import darts

STEPS, EPOCHS = 3, 2


def seeing(problem):
    """A direction that leaves alpha alone and reports what its step was given."""

    def step(state, train_batches, val_batch, key):
        seen = {
            "step": state.step,
            "progress": val_batch["at"].progress,
            "train": train_batches["image"].sum(),
            "val": val_batch["image"].sum(),
            "draw": jax.random.uniform(val_batch["at"].key),
            "moved": optax.tree.norm(state.w),
        }
        return state.arch, (), {k: jnp.float32(v) for k, v in seen.items()}

    return Direction("seeing", lambda arch, key: (), step, 1.0)


def rounds(weights_first):
    """The names of the programs, what alpha saw in every round, and norms of w."""
    training = Training(
        lambda rate, clip=True: optax.sgd(rate), lambda step: 0.1, EPOCHS, STEPS, 0
    )
    algorithm = Algorithm(seeing, weights_first=weights_first)
    search = built(algorithm, darts(("skip_connect", "dil_conv_3x3")), training)
    data = {
        half: {"image": jnp.array(part.image), "label": jnp.array(part.label)}
        for half, part in zip(("weights", "arch"), parts(), strict=True)
    }
    state = jax.jit(search.init)(jax.random.key(0))
    seen, norms = [], [float(optax.tree.norm(state.w))]
    for index in range(STEPS * EPOCHS):
        for own in search.programs:
            batches = own.batches.draw(search.problem.task, data, state)
            state, metrics = own.step(state, *batches)
            if own.name == "alpha":
                seen.append(jax.device_get(metrics))
        assert state.step == index + 1
        norms.append(float(optax.tree.norm(state.w)))
    return [own.name for own in search.programs], seen, norms


@pytest.mark.parametrize("weights_first", [False, True])
def test_alpha_sees_the_number_of_its_round(weights_first):
    names, seen, norms = rounds(weights_first)
    assert names == (["weights", "alpha"] if weights_first else ["alpha", "weights"])
    for index, metrics in enumerate(seen):
        assert metrics["step"] == index
        assert metrics["progress"] == np.float32(index // STEPS / EPOCHS)
        np.testing.assert_allclose(metrics["moved"], norms[index + weights_first], 1e-6)


def test_a_search_is_read_at_its_last_weight_step():
    """Progress of the evaluation after an epoch is the progress of that epoch."""
    training = Training(
        lambda rate, clip=True: optax.sgd(rate), lambda step: 0.1, EPOCHS, STEPS, 0
    )
    search = built(Algorithm(seeing), darts(("skip_connect", "dil_conv_3x3")), training)
    state = jax.eval_shape(search.init, jax.random.key(0))
    for step, epoch in ((0, 0), (1, 0), (STEPS, 0), (STEPS + 1, 1), (2 * STEPS, 1)):
        at = search.at(state._replace(step=jnp.int32(step)))
        assert at.key is None and at.epochs == EPOCHS
        assert at.progress == epoch / EPOCHS


def test_monitors_take_the_numbers_of_a_search_as_arguments(monkeypatch):
    """A program that is kept must fit a search of other epochs."""
    space, caught, texts = darts(("skip_connect", "dil_conv_3x3")), [], []

    def cooled(space, spread):
        plain = softmax(space, spread)
        mix = lambda arch, at: plain.mix(
            jax.tree.map(lambda leaf: leaf * at.progress / at.epochs, arch), at
        )
        return plain._replace(mix=mix)

    def catching(*arguments, **programs):
        caught.append(Programs(*arguments, **programs))
        return caught[-1]

    def begin(hyper):
        training = Training(
            lambda rate, clip=True: optax.sgd(rate), lambda step: hyper.rate,
            hyper.epochs, STEPS, 0,
        )  # fmt: skip
        return built(Algorithm(seeing, relaxation=cooled), space, training)

    monkeypatch.setattr(phases, "Programs", catching)
    for epochs in (2, 5):
        hyper = Hyper(epochs, 0.1, 0.0, 0.0)
        search_phase = phases.search_phase(
            "search", begin, hyper, halves(), jax.random.key(0), Devices.of(1), None,
            lambda search: [supernet(search)],
        )  # fmt: skip
        given = search_phase.init(), halves()["arch"], hyper.arrays()
        texts.append(caught[-1]["evaluate"].lower(*given).as_text())
    assert texts[0] == texts[1]


def test_both_orders_draw_the_same():
    (_, first, _), (_, second, _) = rounds(False), rounds(True)
    for one, other in zip(first, second, strict=True):
        for name in ("train", "val", "draw"):
            assert one[name] == other[name]
