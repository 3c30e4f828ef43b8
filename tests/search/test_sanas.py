"""SANAS as a search on a smooth network in float64; each switch is tested by hand."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import harness

from nasjax import nets, saliency
from nasjax.core.errors import UserError
from nasjax.data.augment import Augment
from nasjax.data.splits import Part
from nasjax.engine import optim
from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.experiment import phases
from nasjax.experiment.defaults import settings
from nasjax.saliency import Attack
from nasjax.search import Cadence, SearchState, Training, search
from nasjax.spaces import Weights, darts
from nasjax.tasks.images import images as task_of

ATTACK = Attack(7, 0.1, 0.03, (0.4,), (0.5,))


@pytest.fixture(autouse=True)
def precise(float64):
    """Runs all tests in double precision."""


def close(a, b, rtol=1e-9):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-14)


def default():
    config = settings()
    config.saliency.update(
        steps=7, eps=ATTACK.eps, step=ATTACK.step, ascent="pgd", target="soft",
        mode="signed",
    )  # fmt: skip
    config.arch.sanas.validate_reweighted = False
    return config


SPACE = darts(("skip_connect", "dil_conv_3x3"))
WEIGHTS = np.random.default_rng(9).normal(0, 0.2, (4, 28))


class TwoLayers:
    """A smooth network instead of the supernet: mixing weights scale its units."""

    @staticmethod
    def init(key, images):
        del images
        one, two = jax.random.split(key)
        w = {"a": jax.random.normal(one, (6, 4)), "b": jax.random.normal(two, (4, 3))}
        return {"params": w, "batch_stats": {"seen": jnp.zeros(())}}

    @staticmethod
    def apply(variables, mix, images, *, train, key=None, drop_path=0.0):
        w, seen = variables["params"], variables["batch_stats"]["seen"]
        units = (
            WEIGHTS
            @ jnp.concatenate([mix["normal"].ops, mix["reduce"].ops]).reshape(56, -1)[
                ::2
            ]
        )
        hidden = jnp.tanh(images.reshape(len(images), 6) @ w["a"]) * jnp.exp(units.T)
        return nets.Output(hidden @ w["b"], None), {"seen": seen + 1}


# With momentum, weight decay, and a rate that falls every second step.
TRAINING = Training(
    optimizer=lambda rate, clip=True: optim.sgd(rate, 0.9, 3e-2, 1e3 * clip),
    rate=optim.cosine(0.2, 0.02, 8, 2),
    epochs=8,
    steps_per_epoch=2,
    warmup_epochs=0,
)


def search_of(config, base="darts_second", batch=4):
    """A search on images of 2x3 pixels."""
    augment = Augment(pad=1, mean=ATTACK.mean, std=ATTACK.std)
    task = lambda axis: task_of(TwoLayers, (2, 3, 1), augment, batch, 2)
    algorithm = harness.composed(f"{base}+sanas", config)
    return search(algorithm, SPACE, task, TRAINING, Devices.of(1))


def images(seed, size):
    draws = np.random.default_rng(seed)
    return {
        "image": jnp.asarray((draws.uniform(size=(size, 2, 3, 1)) - 0.4) / 0.5),
        "label": jnp.asarray(draws.integers(0, 3, size)),
        "key": jax.random.split(jax.random.key(seed), size),
    }


@functools.cache
def trained():
    """The state of W1 at each of its first 7 steps, which no switch changes."""
    made = search_of(default())
    step = jax.jit(made.program("weights").step)
    states = [jax.jit(made.init)(jax.random.key(0))]
    for _ in range(6):
        states.append(step(states[-1], images(1, 4))[0])
    return states


class Made:
    """A search before the third step of W2, after 6 steps of W1 and 2 of W2, and its four
    levels by hand. Alpha descends its hypergradient by SGD of rate 1."""

    def __init__(self, base="darts_second", saliency=(), arch=(), own=()):
        self.config = config = default()
        config.saliency.update(dict(saliency))
        config.arch.sanas.update(dict(arch))
        config.arch.darts_second.update(dict(own))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("nasjax.engine.optim.adam", lambda *_: optax.sgd(1.0))
            self.search = search_of(config, base)
        self.train, self.val = images(1, 4), images(2, 5)
        arch_opt = optax.sgd(1.0).init(trained()[0].arch)
        levels = trained()[0].levels
        for state in (trained()[1], trained()[4], trained()[6]):
            self.state = state._replace(arch_opt=arch_opt, levels=levels)
            if state.step < 6:
                levels = self.second_step()[0].levels
        self.xi = TRAINING.rate(self.state.step)

    def second_step(self):
        return jax.jit(self.search.program("w2").step)(self.state, self.train)

    @property
    def alpha_step(self):
        return jax.jit(self.search.program("alpha").step)

    @property
    def second(self):
        """The second network."""
        return self.state.levels["w2"]

    @functools.cache  # noqa: B019, there are only a few instances
    def gradient(self):
        """(value, hypergradient) as computed by the step of alpha."""
        batches = jax.tree.map(lambda leaf: leaf[None], self.train)
        after, metrics = self.alpha_step(self.state, batches, self.val)
        moved = jax.tree.map(np.subtract, self.state.arch, after.arch)
        return metrics["val_loss"], moved

    def run(self, w, arch, image):
        variables = {"params": w, "batch_stats": self.state.batch_stats}
        mix = {kind: Weights(jax.nn.softmax(alpha)) for kind, alpha in arch.items()}
        return TwoLayers.apply(variables, mix, image, train=True)[0].logits

    def entropy(self, w, arch, image, label):
        scores = self.run(w, arch, image)
        return optax.softmax_cross_entropy_with_integer_labels(scores, label).mean()

    def moved(self, w, opt, loss_of):
        return jax.tree.map(
            lambda w, g, b: w - self.xi * (0.9 * b + g + 3e-2 * w),
            w, jax.grad(loss_of)(w), opt[2].trace,
        )  # fmt: skip

    def delta(self, w1, arch, batch):
        """The delta of the saliency level, with its derivative."""
        how, x = self.config.saliency, batch["image"]
        attack = Attack.of(how, ATTACK.mean, ATTACK.std)
        stop = jax.lax.stop_gradient

        def aim(w1, arch):
            scores = self.run(w1, arch, x)
            if how.target == "soft":
                return jax.nn.softmax(scores)
            hard = scores.argmax(-1) if how.target == "predicted" else batch["label"]
            return jax.nn.one_hot(hard, 3)

        def rise(delta, w1, arch):
            scores = jax.nn.log_softmax(self.run(w1, arch, x + delta / 0.5))
            return -(aim(w1, arch) * scores).sum()

        slope = jax.grad(rise)
        at = saliency.start(x, batch["key"], attack)
        climb = lambda delta: slope(delta, stop(w1), stop(arch))
        literal = how.ascent == "gradient"
        before = attack._replace(steps=how.steps - literal)
        found = stop(saliency.ascend(climb, x, at, before))
        g = slope(found, w1, arch)
        xi = how.rate or 0.03 / stop(abs(g)).mean((1, 2, 3))[:, None, None, None]
        if literal:
            found = saliency.into_range(x, found + xi * g, attack)
        else:
            found = found + xi * (g - stop(g))
        return stop(found) if how.detach else found

    def weighed(self, batch, delta):
        if self.config.saliency.mode == "scaled":
            delta = abs(delta) / 0.1
        return delta * batch["image"]

    def second_loss(self, w, arch, delta):
        scale = 4 if self.config.arch.sanas.sum else 1
        loss = self.entropy(
            w, arch, self.weighed(self.train, delta), self.train["label"]
        )
        return scale * loss

    def by_hand(self, arch):
        x, t = self.train["image"], self.train["label"]
        first = lambda w: self.entropy(w, arch, x, t)
        w1 = self.moved(self.state.w, self.state.weight_opt, first)
        delta = self.delta(w1, arch, self.train)
        network = self.second
        second = lambda w: self.second_loss(w, arch, delta)
        w2 = self.moved(network.w, network.opt, second)
        image, label = self.val["image"], self.val["label"]
        seen = image
        if self.config.arch.sanas.validate_reweighted:
            seen = self.weighed(self.val, self.delta(w1, arch, self.val))
        gamma = self.config.arch.sanas.gamma
        return self.entropy(w2, arch, seen, label) + gamma * self.entropy(
            w1, arch, image, label
        )


DEFAULT = {
    name: settings().saliency[name] for name in ("target", "ascent", "mode", "rate")
}
CASES = {
    "appendix M": {},
    "as printed": {
        "saliency": {"ascent": "gradient", "rate": 0.01, "steps": 1},
        "arch": {"sum": True},
    },
    "gamma, scaled": {"saliency": {"mode": "scaled"}, "arch": {"gamma": 0.3}},
    "labels": {"saliency": {"target": "label"}},
    "detached": {"saliency": {"detach": True}},
    "validated on whole images": {"saliency": DEFAULT},
    "default": {"saliency": DEFAULT, "arch": {"validate_reweighted": True}},
}  # fmt: skip


@functools.cache
def made_of(name):
    return Made(**CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_a_step_of_alpha_is_the_composition(name):
    """Each switch, with nonzero momentum, against reverse over reverse."""
    made = made_of(name)
    value, slope = jax.jit(jax.value_and_grad(made.by_hand))(made.state.arch)
    found, grad = made.gradient()
    close(found, value, 1e-6)  # the schedule is in float32
    for kind in SPACE.types:
        np.testing.assert_allclose(grad[kind], slope[kind], rtol=1e-5, atol=1e-10)


def test_the_switch_to_finite_differences():
    """Finite differences are close to the exact products, but not equal."""
    exact = made_of("appendix M").gradient()[1]["normal"]
    twin = Made(own={"finite_difference": True}).gradient()[1]["normal"]
    error = abs(twin - exact).max() / abs(exact).max()
    assert 1e-9 < error < 1e-3


@pytest.mark.parametrize("name", CASES)
def test_a_step_of_the_second_network(name):
    """SGD at the current rate of W1, on images that W1 reweights; the rest is unchanged."""
    made = made_of(name)
    network = made.second

    @jax.jit
    def by_hand(w1, arch):
        delta = made.delta(w1, arch, made.train)
        loss_of = lambda w: made.second_loss(w, arch, delta)
        return loss_of(network.w), made.moved(network.w, network.opt, loss_of)

    loss, expected = by_hand(made.state.w, made.state.arch)
    after, metrics = made.second_step()
    close(metrics["w2_loss"], loss, 1e-6)
    second = after.levels["w2"]
    jax.tree.map(lambda a, b: close(a, b, 1e-6), second.w, expected)
    assert second.batch_stats["seen"] == network.batch_stats["seen"] + 1
    for field in set(SearchState._fields) - {"levels", "key"}:
        before, now = (getattr(state, field) for state in (made.state, after))
        jax.tree.map(np.testing.assert_array_equal, before, now)


def test_first_order_takes_both_networks_as_they_are():
    made = Made(base="darts_first", arch={"gamma": 0.3})
    assert made.search.name == "sanas_first_order"
    at = lambda w, arch: made.entropy(w, arch, made.val["image"], made.val["label"])
    by_hand = lambda arch: at(made.second.w, arch) + 0.3 * at(made.state.w, arch)
    value, slope = jax.jit(jax.value_and_grad(by_hand))(made.state.arch)
    found, grad = made.gradient()
    close(found, value)
    for kind in SPACE.types:
        np.testing.assert_allclose(grad[kind], slope[kind], rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("base", ["amended", "implicit", "zarts_mgs"])
def test_other_directions_are_refused(base):
    with pytest.raises(UserError, match=r"give darts_first\+sanas or darts_second\+"):
        search_of(default(), base)


def test_switches_name_the_estimator():
    for field, value, name in (
        ("ascent", "pgd", "sanas_unrolled_pgd"),
        ("ascent", "gradient", "sanas_unrolled"),
        ("detach", True, "sanas_unrolled_detached"),
    ):
        config = settings()
        config.saliency[field] = value
        assert search_of(config).name == name
    config = settings()
    config.arch.darts_second.finite_difference = True
    assert search_of(config).name == "sanas_unrolled_finite_difference"


def test_every_level_at_its_own_cadence():
    """30 steps at the default frequencies have 30 steps of W1, 10 of W2 and 6 of alpha;
    W2 uses the last batch of W1."""
    built = search_of(default(), batch=8)
    cadences = {own.name: own.cadence for own in built.programs}
    assert cadences == {
        "alpha": Cadence(0, 5), "weights": Cadence(0, 1), "w2": Cadence(0, 3)
    }  # fmt: skip
    seen = []

    def count(name):
        def step(state, *batches):
            jax.debug.callback(
                lambda image: seen.append((name, np.array(image))),
                batches[-1]["image"],
                ordered=True,
            )
            more = {"step": state.step + 1} if name == "weights" else {}
            return state._replace(**more), {name: jnp.ones(())}

        return step

    counted = [own._replace(step=count(own.name)) for own in built.programs]
    counting = built._replace(programs=tuple(counted))
    draws = np.random.default_rng(0)

    def part():
        image = draws.integers(0, 255, (64, 2, 3, 1), np.uint8)
        return Part(image, np.zeros(64, np.int32))

    phase = phases.search_phase(
        "search", lambda hyper: counting, Hyper.of(default().search),
        {"weights": part()._asdict(), "arch": part()._asdict()}, jax.random.key(0),
        Devices.of(1), None,
        lambda search: [],
    )  # fmt: skip
    state = phase.init()
    for index in range(30):
        state, metrics = phase.step(state, index)
    jax.effects_barrier()
    names = [name for name, _ in seen]
    assert {name: names.count(name) for name in set(names)} == {
        "weights": 30, "w2": 10, "alpha": 6
    }  # fmt: skip
    w1 = "weights"
    assert names[:8] == ["alpha", w1, "w2", w1, w1, w1, "w2", w1]
    for (before, given), (name, image) in itertools.pairwise(seen):
        assert (name == "w2") == (before == w1 and np.array_equal(given, image))
    assert set(metrics) == {"weights", "w2", "alpha"}
