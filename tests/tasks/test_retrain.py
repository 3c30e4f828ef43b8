import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from nasjax.core.keys import per_example
from nasjax.data.augment import Augment
from nasjax.data.splits import Part
from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import Programs
from nasjax.experiment import phases
from nasjax.nets import Model, Output, genotype_network
from nasjax.spaces import Macro
from nasjax.spaces.genotype import Genotype
from nasjax.tasks.retrain import Recipe, retraining, training

DEVICES = Devices.of(1)
SETTINGS = ConfigDict(
    {
        "batch": 2,
        "rate": 0.5,
        "epochs": 4,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "clip": 0.0,
        "drop_path": 0.2,
        "auxiliary": 0.4,
        "schedule": "cosine",
        "warmup_epochs": 0,
        "label_smoothing": 0.0,
    }
)


def toy(auxiliary):
    """Logits (w, -w) for every image; its statistics remember what it was given."""

    def init(key, images):
        stats = {"drop_path": jnp.zeros(()), "calls": jnp.zeros(())}
        return {"params": {"w": jnp.zeros(1)}, "batch_stats": stats}

    def apply(variables, mix, images, *, train, key=None, drop_path=0.0):
        assert train and mix == {} and key.shape == images.shape[:1]
        w = variables["params"]["w"]
        logits = jnp.broadcast_to(jnp.stack([w, -w], -1), (len(images), 2))
        calls = variables["batch_stats"]["calls"] + 1
        stats = {"drop_path": jnp.asarray(drop_path), "calls": calls}
        return Output(logits, -3 * logits if auxiliary else None), stats

    return Model(init, apply, auxiliary)


def batch(size, side=2):
    return {
        "image": jnp.zeros((size, side, side, 1)),
        "label": jnp.zeros(size, jnp.int32),
        "key": per_example(jax.random.key(1), size),
    }


def trained(model, settings, steps_per_epoch, shape=(2, 2, 1)):
    """How a model is trained, on one device."""
    return training(model, shape, Recipe.of(settings), steps_per_epoch, DEVICES)


def stepper(train, settings):
    """(state, batch) -> (state, metrics), compiled; the numbers are traced."""
    step, hyper = jax.jit(train.step), Hyper.of(settings).arrays()
    return lambda state, batch: step(state, batch, hyper)


@pytest.mark.parametrize("auxiliary", [False, True])
def test_the_first_step_by_hand(auxiliary):
    """Both losses are ln 2. d/dw CE((w, -w), 0) = -1 at 0; three times that, the other
    way and weighted by .4, for the second head."""
    train = trained(toy(auxiliary), SETTINGS, steps_per_epoch=2)
    state, metrics = stepper(train, SETTINGS)(train.init(jax.random.key(0)), batch(3))
    assert float(metrics["loss"]) == pytest.approx(
        (1.4 if auxiliary else 1) * np.log(2)
    )
    assert float(metrics["accuracy"]) == 1  # a tie goes to the first class
    slope = -1 + (0.4 * 3 if auxiliary else 0)
    assert float(state.w["w"][0]) == pytest.approx(-0.5 * slope, rel=1e-6)
    assert int(state.step) == 1


def test_schedules_go_by_epoch():
    """Drop path 0, .05, .1, .15 and the rate's cosine, each for two steps."""
    train = trained(toy(False), SETTINGS, steps_per_epoch=2)
    step, state = stepper(train, SETTINGS), train.init(jax.random.key(0))
    ramp, moves, slopes = [], [], []
    for _ in range(8):
        w = float(state.w["w"][0])
        state, _ = step(state, batch(2))
        ramp.append(float(state.batch_stats["drop_path"]))
        moves.append(float(state.w["w"][0]) - w)
        slopes.append(-2 / (1 + np.exp(2 * w)))
    assert float(state.batch_stats["calls"]) == 8
    np.testing.assert_allclose(
        ramp, [0, 0, 0.05, 0.05, 0.1, 0.1, 0.15, 0.15], rtol=1e-6
    )
    root = 2**0.5
    rates = np.repeat([0.5, 0.25 + 0.125 * root, 0.25, 0.25 - 0.125 * root], 2)
    buffers = [sum(0.9 ** (t - s) * slopes[s] for s in range(t + 1)) for t in range(8)]
    np.testing.assert_allclose(moves, -rates * buffers, rtol=1e-4)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_other_numbers_compile_nothing(monkeypatch, schedule):
    """Epochs, learning rate and weight decay are arguments of the phase's program."""
    caught, part = [], Part(np.zeros((4, 2, 2, 1), np.uint8), np.arange(4) % 2)

    def catching(*arguments, **jitted):
        caught.append(Programs(*arguments, **jitted))
        return caught[-1]

    monkeypatch.setattr(phases, "Programs", catching)
    texts = []
    for numbers in ({}, {"epochs": 9, "rate": 0.3, "weight_decay": 0.01}):
        settings = ConfigDict({**SETTINGS.to_dict(), "schedule": schedule, **numbers})
        hyper = Hyper.of(settings)
        plain = trained(toy(True), settings, 2)
        own = retraining(plain, part._asdict(), Augment(), 2, None, None)
        phase = phases.retrain_phase(
            "retrain", own, hyper, jax.random.key(0), DEVICES, abstract=True,
        )  # fmt: skip
        images = {"image": part.image, "label": part.label}
        own = {**images, "first": None}
        data = {"own": own, "hyper": hyper.arrays()}
        arguments = phase.init(), DEVICES.abstract(data)
        texts.append(caught[-1]["step"].lower(*arguments).as_text())
    assert texts[0] == texts[1]


def test_a_network_learns():
    """Bright against dark images, by a network of one cell of pools."""
    pools = (("avg_pool_3x3", 0), ("max_pool_3x3", 1)) * 4
    genotype = Genotype("darts", {"normal": pools, "reduce": pools}, (2, 3, 4, 5))
    model = genotype_network(genotype, Macro(2, 1), 2)
    train = trained(model, SETTINGS, steps_per_epoch=20, shape=(4, 4, 1))
    data = batch(8, 4)
    data["label"] = jnp.arange(8) % 2
    noise = jax.random.normal(jax.random.key(2), (8, 4, 4, 1))
    data["image"] = 0.1 * noise + data["label"][:, None, None, None]
    state = jax.jit(train.init)(jax.random.key(0))
    step, losses = stepper(train, SETTINGS), []
    for _ in range(60):
        state, metrics = step(state, data)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.1 < losses[0] and float(metrics["accuracy"]) == 1


def test_smoothed_labels_and_warm_up_of_imagenet():
    """With smoothing .1 the slope at w = 0 is -.9, for the even part has none there; two
    epochs of warm-up halve the first rate, which of 8 epochs' line is (3 - 0) / 3."""
    settings = ConfigDict(SETTINGS.to_dict())
    imagenet = {"schedule": "linear", "warmup_epochs": 2, "label_smoothing": 0.1}
    settings.update(imagenet | {"epochs": 8})
    train = trained(toy(False), settings, steps_per_epoch=1)
    state, metrics = stepper(train, settings)(train.init(jax.random.key(0)), batch(3))
    assert float(metrics["loss"]) == pytest.approx(np.log(2))
    np.testing.assert_allclose(state.w["w"], 0.5 / 2 * 0.9, rtol=1e-6)
