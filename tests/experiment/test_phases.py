"""Batches drawn by the phases: no two steps have the same batch.

All images are equal and only their crops differ; a label is the index of its image. The
steps return their batches as metrics and move nothing.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.toy import toy

from nasjax.data.augment import Augment
from nasjax.data.splits import Part
from nasjax.engine import optim
from nasjax.engine.devices import Devices
from nasjax.experiment import phases
from nasjax.search import Training as SearchTraining
from nasjax.search import search
from nasjax.search.base import Algorithm, Direction
from nasjax.spaces import darts
from nasjax.tasks.images import images
from nasjax.tasks.retrain import Training, TrainState, retraining

N, BATCH, STEPS, LOOK_AHEADS = 32, 8, 6, 3
IMAGE = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8)
PART = Part(np.stack([IMAGE] * N), np.arange(N, dtype=np.int32))
AUGMENT, HYPER = Augment(pad=4), optim.Hyper(2, 0.1, 0.0, 0.0)
KEY, DEVICES = jax.random.key(0), Devices.of(1)


def seen(batch):
    """The batch as arrays, with the data of its keys instead of keys."""
    return {**batch, "key": jax.random.key_data(batch["key"])}


def search_phase():
    """A search that moves alpha at every step, and looks ahead by three batches."""

    def weights(state, batch):
        return state._replace(step=state.step + 1), {"weights": seen(batch)}

    def alpha(state, train, val):
        return state, {"look-ahead": seen(train), "validation": seen(val)}

    nothing = lambda *_: ()
    direction = Direction("none", nothing, nothing, 1.0, inner_steps=LOOK_AHEADS)
    space, steps = darts(("skip_connect",)), {"weights": weights, "alpha": alpha}

    def begin(hyper):
        found = search(
            Algorithm(lambda problem: direction),
            space,
            lambda axis: images(
                toy(space, N, axis), IMAGE.shape, AUGMENT, BATCH, N // BATCH
            ),
            SearchTraining(optax.sgd, lambda _: 0.1, hyper.epochs, N // BATCH, 0),
            DEVICES,
        )
        assert {own.name for own in found.programs} == set(steps)
        looking = (own._replace(step=steps[own.name]) for own in found.programs)
        return found._replace(programs=tuple(looking))

    return phases.search_phase(
        "search", begin, HYPER, dict.fromkeys(("weights", "arch"), PART._asdict()), KEY,
        DEVICES, None,
        lambda search: [],
    )  # fmt: skip


def retrain_phase():
    training = Training(
        lambda key: TrainState(jnp.int32(0), key, (), (), ()),
        lambda state, batch, hyper: (
            state._replace(step=state.step + 1),
            {"retraining": seen(batch)},
        ),
    )
    own = retraining(training, PART._asdict(), AUGMENT, BATCH, None, None)
    return phases.retrain_phase("retrain", own, HYPER, KEY, DEVICES)


def batches_of(phase):
    """Kind -> all batches of that kind in order; look-ahead batches are separate."""
    state, found = phase.init(), {}
    for index in range(STEPS):
        state, metrics = phase.step(state, index)
        for kind, batch in jax.device_get(metrics).items():
            many = kind == "look-ahead"
            rows = batch if many else jax.tree.map(lambda leaf: leaf[None], batch)
            count = LOOK_AHEADS if many else 1
            assert rows["label"].shape == (count, BATCH)
            found.setdefault(kind, []).extend(
                {name: leaf[row] for name, leaf in rows.items()} for row in range(count)
            )
    return found


@pytest.fixture(scope="module")
def found():
    return batches_of(search_phase()) | batches_of(retrain_phase())


def test_no_two_batches_are_alike(found):
    """Batches differ in the order of their images, in their crops and in the network's
    draws. With 81 possible crops, 8 images have the same crops once in 10^15 draws."""
    counts = {kind: len(batches) for kind, batches in found.items()}
    assert counts == {
        "weights": STEPS, "look-ahead": STEPS * LOOK_AHEADS, "validation": STEPS,
        "retraining": STEPS,
    }  # fmt: skip
    every = list(itertools.chain.from_iterable(found.values()))
    for name in ("image", "key"):
        assert len({batch[name].tobytes() for batch in every}) == len(every), name
    for kind, batches in found.items():
        orders = {batch["label"].tobytes() for batch in batches}
        assert len(orders) == len(batches), kind


@pytest.mark.parametrize("kind", ["weights", "retraining"])
def test_an_epoch_sees_every_image_once(found, kind):
    epoch = [batch["label"] for batch in found[kind][: N // BATCH]]
    assert sorted(np.concatenate(epoch)) == list(range(N))
