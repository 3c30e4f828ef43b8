"""SANAS' four levels on smooth networks, in float64: term by term, and as a search."""

import functools
import itertools
import runpy
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import ROOT

from nasjax import hypergrad, nets, optim, parallel, phases, saliency
from nasjax.data.augment import Augment
from nasjax.data.splits import Part
from nasjax.hypergrad import Level, chain, descend, finite_difference, products
from nasjax.saliency import Attack
from nasjax.search import ALGORITHMS, Cadence, Problem, SearchState
from nasjax.search.base import Direction, Further, Search
from nasjax.search.saliency_level import norm, saliency_level
from nasjax.spaces import darts

XI1, XI2, GAMMA, B = 0.3, 0.2, 0.7, 4
ATTACK = Attack(7, 0.1, 0.03, (0.4,), (0.5,))


@pytest.fixture(autouse=True)
def precise(float64, compiled_quickly):
    """All in double precision."""


def logits(w, arch, batch, images):
    """A smooth network of 2x3 pixels, whose units alpha weighs."""
    del batch
    hidden = jnp.tanh(images.reshape(len(images), 6) @ w["a"])
    return jnp.sin(hidden * jnp.exp(arch)[None]) @ w["b"]


def loss(w, arch, batch):
    scores = logits(w, arch, batch, batch["image"])
    each = optax.softmax_cross_entropy_with_integer_labels(scores, batch["label"])
    return each.mean() + 0.01 * jnp.sum(arch**2) * jnp.sum(w["b"] ** 2)


def toy(seed=0):
    """(w, arch, train_batch, val_batch), w with a random delta."""
    draws = np.random.default_rng(seed)
    network = lambda: {"a": draws.normal(size=(6, 4)), "b": draws.normal(size=(4, 3))}
    batch = lambda: {
        "image": jnp.asarray((draws.uniform(size=(B, 2, 3, 1)) - 0.4) / 0.5),
        "label": jnp.asarray(draws.integers(0, 3, B)),
    }
    train, val = batch(), batch()
    keys = jax.random.split(jax.random.key(seed), B)
    delta = saliency.start(train["image"], keys, ATTACK)
    w = {"w1": network(), "saliency": delta, "w2": network()}
    return w, draws.normal(size=4), train, val


def weighed(batch, delta):
    return batch | {"image": batch["image"] * delta}


def validation(s, arch, batch, gamma=GAMMA):
    return loss(s["w2"], arch, batch) + gamma * loss(s["w1"], arch, batch)


def four(middle, gamma=GAMMA, along=None):
    """The chain of the paper around a level of saliency."""
    more = {"along": along} if along else {}
    return chain(
        [
            descend("w1", lambda s, a, x: loss(s["w1"], a, x), optax.sgd(XI1), **more),
            middle,
            descend(
                "w2",
                lambda s, a, x: loss(s["w2"], a, weighed(x, s["saliency"])),
                optax.sgd(XI2),
                **more,
            ),
        ],
        functools.partial(validation, gamma=gamma),
    )


level = functools.partial(saliency_level, logits, ATTACK, rate=0.05)


def divergence(delta, w, arch, batch):
    """The sum over the images of l(f(x + delta), f(x)), in pixels."""
    x = batch["image"]
    target = jax.nn.softmax(logits(w, arch, batch, x))
    scores = logits(w, arch, batch, x + delta / 0.5)
    return -(target * jax.nn.log_softmax(scores)).sum()


def stepped(w, loss_of, rate):
    return jax.tree.map(lambda p, g: p - rate * g, w, jax.grad(loss_of)(w))


def close(a, b, rtol=1e-9):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-14)


def test_eq_2_literally_is_the_derivative_of_the_composition():
    """By hand, and by central differences, to 1e-6."""
    w, arch, train, val = toy()

    def by_hand(arch):
        w1 = stepped(w["w1"], lambda w: loss(w, arch, train), XI1)
        rise = jax.grad(divergence)(w["saliency"], w1, arch, train)
        delta = w["saliency"] + 0.05 * rise
        w2 = stepped(w["w2"], lambda w: loss(w, arch, weighed(train, delta)), XI2)
        return validation({"w1": w1, "w2": w2}, arch, val)

    estimator = four(level(ascent="gradient"))
    found = jax.jit(estimator)(w, arch, train, val)
    value, grad = jax.jit(jax.value_and_grad(by_hand))(arch)
    close(found.value, value)
    close(found.grad, grad)
    report = hypergrad.check(estimator, w, arch, train, val)
    assert report.agrees and min(report.errors) < 1e-6, report


@jax.jit
def terms(w, arch, train, val, found, rate):
    """Eqs. 5 to 19 by whole matrices of second derivatives, at delta' = `found`."""
    flat = jax.flatten_util.ravel_pytree
    start1, restore = flat(w["w1"])
    start2, _ = flat(w["w2"])
    shape = found.shape
    first = lambda w, a: loss(restore(w), a, train)
    ascent = lambda d, w, a: divergence(d.reshape(shape), restore(w), a, train)
    third = lambda w, d, a: loss(restore(w), a, weighed(train, d.reshape(shape)))
    held_out = lambda w, a: loss(restore(w), a, val)
    w1 = start1 - XI1 * jax.grad(first)(start1, arch)
    delta = found.reshape(-1)
    w2 = start2 - XI2 * jax.grad(third)(start2, delta, arch)

    def matrix(f, to, of, *at):
        """d2 f / d `of` d `to`: rows are of argument `of`."""
        return jax.jacfwd(jax.grad(f, to), of)(*at).T

    v2, direct2 = jax.grad(held_out, (0, 1))(w2, arch)
    v1, direct1 = jax.grad(held_out, (0, 1))(w1, arch)
    q = -XI2 * matrix(third, 0, 1, start2, delta, arch) @ v2  # eq. 11
    r = rate * matrix(ascent, 0, 1, delta, w1, arch) @ q  # eq. 15
    pull = -XI1 * matrix(first, 0, 1, start1, arch)  # eq. 19
    return {
        "direct": direct2 + GAMMA * direct1,
        "w2": -XI2 * matrix(third, 0, 2, start2, delta, arch) @ v2,  # eq. 13
        "delta": rate * matrix(ascent, 0, 2, delta, w1, arch) @ q,  # eq. 17
        "delta_w1": pull @ r,
        "w1": pull @ (GAMMA * v1),  # eq. 5
    }


def attacked(w, arch, train):
    """(W1', PGD's delta), by hand."""
    w1 = stepped(w["w1"], lambda w: loss(w, arch, train), XI1)
    slope = lambda delta: jax.grad(divergence)(delta, w1, arch, train)
    return w1, saliency.pgd(slope, train["image"], w["saliency"], ATTACK)


def test_the_surrogate_is_the_products_of_eqs_10_to_19():
    w, arch, train, val = toy()
    w1, delta = attacked(w, arch, train)
    found = jax.jit(four(level()))(w, arch, train, val)
    parts = terms(w, arch, train, val, delta, 0.05)
    close(found.grad, sum(parts.values()))
    w2 = stepped(w["w2"], lambda w: loss(w, arch, weighed(train, delta)), XI2)
    close(found.value, validation({"w1": w1, "w2": w2}, arch, val))


def test_each_path_through_delta_is_its_term():
    w, arch, train, val = toy()
    parts = terms(w, arch, train, val, attacked(w, arch, train)[1], 0.05)
    stop = jax.lax.stop_gradient
    blind = {
        "delta": lambda w, a, *rest: logits(w, stop(a), *rest),
        "delta_w1": lambda w, a, *rest: logits(stop(w), a, *rest),
    }
    whole = jax.jit(four(level()))(w, arch, train, val).grad
    for name, without in blind.items():
        middle = saliency_level(without, ATTACK, rate=0.05)
        rest = jax.jit(four(middle))(w, arch, train, val).grad
        assert abs(parts[name]).max() > 1e-5 * abs(whole).max(), "the path is there"
        close(whole - rest, parts[name], rtol=1e-7)
    cut = jax.jit(four(level(detach=True)))(w, arch, train, val)
    close(whole - cut.grad, parts["delta"] + parts["delta_w1"], rtol=1e-7)


def test_the_usual_rate_is_a_step_over_the_mean_gradient():
    """Taken as a constant: the same hypergradient as with that number given."""
    w, arch, train, val = toy()
    w1, delta = attacked(w, arch, train)
    mean = abs(jax.grad(divergence)(delta, w1, arch, train)).mean()
    own = jax.jit(four(level(rate=0.0)))(w, arch, train, val)
    given = jax.jit(four(level(rate=float(0.03 / mean))))(w, arch, train, val)
    close(own.grad, given.grad)


def test_labels_are_attacked_if_asked_for():
    w, arch, train, val = toy()
    w1, _ = attacked(w, arch, train)
    target = jax.nn.one_hot(train["label"], 3)
    expected = saliency.pgd(
        jax.grad(
            lambda d: saliency.divergence(
                logits(w1, arch, train, train["image"] + d / 0.5), target
            )
        ),
        train["image"],
        w["saliency"],
        ATTACK,
    )
    middle = level(labels=True, detach=True)
    found = middle.update({**w, "w1": w1}, arch, train, None)
    close(found, expected)
    assert abs(found - attacked(w, arch, train)[1]).max() > 0.01


def test_with_delta_fixed_and_gamma_0_it_is_one_unrolled_step():
    w, arch, train, val = toy()
    delta = 0.05 * jnp.cos(jnp.arange(24.0)).reshape(B, 2, 3, 1)
    middle = Level("saliency", lambda *_: delta)
    found = jax.jit(four(middle, gamma=0.0))(w, arch, train, val)
    one = hypergrad.unrolled(loss, loss, optax.sgd(XI2))
    expected = jax.jit(one)(w["w2"], arch, weighed(train, delta), val)
    close(found.value, expected.value)
    close(found.grad, expected.grad)


@pytest.mark.parametrize("ascent", ["pgd", "gradient"])
def test_finite_differences_approach_the_chain_at_second_order(ascent):
    w, arch, train, val = toy()
    exact = jax.jit(four(level(ascent=ascent)))(w, arch, train, val)

    def error(epsilon):
        along = finite_difference.along(epsilon)
        twin = four(level(ascent=ascent, along=along), along=along)
        found = jax.jit(twin)(w, arch, train, val)
        close(found.value, exact.value)
        return np.linalg.norm(found.grad - exact.grad)

    large, small = error(0.04), error(0.02)
    assert small < 1e-3 * np.linalg.norm(exact.grad)
    assert 3.7 < large / small < 4.3


def default(**arch):
    config = runpy.run_path(str(ROOT / "configs" / "sanas_darts2.py"))["get_config"]()
    config.arch.update(arch)
    return config


SPACE = darts(("skip_connect", "dil_conv_3x3"))
WEIGHTS = np.random.default_rng(9).normal(0, 0.2, (4, 28))


class TwoLayers:
    """A smooth network in the place of the supernet: mixing weights scale its units."""

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
            @ jnp.concatenate([mix["normal"], mix["reduce"]]).reshape(56, -1)[::2]
        )
        hidden = jnp.tanh(images.reshape(len(images), 6) @ w["a"]) * jnp.exp(units.T)
        return nets.Output(hidden @ w["b"], None), {"seen": seen + 1}


def problem_of(config, model=TwoLayers):
    """With momentum, weight decay, and a rate that falls every second step."""
    return Problem(
        space=SPACE,
        model=model,
        image_shape=(2, 3, 1),
        sgd=lambda rate, clip=True: optim.sgd(rate, 0.9, 3e-2, 1e3 * clip),
        rate=optim.cosine(0.2, 0.02, 8, 2),
        steps_per_epoch=2,
        epochs=8,
        warmup_epochs=0,
        base=config.base,
        attack=ATTACK,
        saliency=config.saliency,
    )


def images(seed, size):
    draws = np.random.default_rng(seed)
    return {
        "image": jnp.asarray((draws.uniform(size=(size, 2, 3, 1)) - 0.4) / 0.5),
        "label": jnp.asarray(draws.integers(0, 3, size)),
        "key": jax.random.split(jax.random.key(seed), size),
    }


class Made:
    """A search after 6 steps of W1 and 2 of W2, whose third is due; alpha descends its
    hypergradient by SGD of rate 1. And the four levels by hand."""

    def __init__(self, monkeypatch, base="darts_second", saliency=(), arch=(), own=()):
        monkeypatch.setattr("nasjax.optim.adam", lambda *_: optax.sgd(1.0))
        self.config = config = default()
        config.base = base
        config.saliency.update(dict(saliency))
        config.arch.update(dict(arch))
        config.arch.darts_second.update(dict(own))
        self.problem = problem_of(config)
        self.search = ALGORITHMS["sanas"](self.problem, config.arch)
        self.train, self.val = images(1, 4), images(2, 5)
        self.state = self.search.init(jax.random.key(0))
        for step in range(6):
            self.state, _ = jax.jit(self.search.weight_step)(self.state, self.train)
            if step % 3 == 0:
                self.state, _ = self.second_step()
        self.xi = self.problem.rate(self.state.step)

    def second_step(self):
        return jax.jit(self.search.further[0].step)(self.state, self.train)

    def gradient(self):
        """(value, d / d alpha), as the step of alpha takes it."""
        batches = jax.tree.map(lambda leaf: leaf[None], self.train)
        after, metrics = jax.jit(self.search.arch_step)(self.state, batches, self.val)
        moved = jax.tree.map(jnp.subtract, self.state.arch, after.arch)
        return metrics["val_loss"], moved

    def run(self, w, arch, image):
        variables = {"params": w, "batch_stats": self.state.batch_stats}
        mix = {kind: jax.nn.softmax(alpha) for kind, alpha in arch.items()}
        return TwoLayers.apply(variables, mix, image, train=True)[0].logits

    def entropy(self, w, arch, image, label):
        scores = self.run(w, arch, image)
        return optax.softmax_cross_entropy_with_integer_labels(scores, label).mean()

    def moved(self, w, opt, loss_of):
        return jax.tree.map(
            lambda w, g, b: w - self.xi * (0.9 * b + g + 3e-2 * w),
            w, jax.grad(loss_of)(w), opt[2].trace,
        )  # fmt: skip

    def delta(self, w1, arch):
        """Of the saliency level, with the derivative that it states."""
        how, x = self.config.saliency, self.train["image"]
        label = jax.nn.one_hot(self.train["label"], 3)

        def rise(delta, w1, arch):
            aim = label if how.labels else jax.nn.softmax(self.run(w1, arch, x))
            scores = jax.nn.log_softmax(self.run(w1, arch, x + delta / 0.5))
            return -(aim * scores).sum()

        slope, stop = jax.grad(rise), jax.lax.stop_gradient
        at = saliency.start(x, self.train["key"], ATTACK)
        if how.ascent == "gradient":
            found = at + how.rate * slope(at, w1, arch)
        else:
            climb = lambda delta: slope(delta, stop(w1), stop(arch))
            found = stop(saliency.pgd(climb, x, at, ATTACK))
            g = slope(found, w1, arch)
            found = found + 0.03 / stop(abs(g).mean()) * (g - stop(g))
        return stop(found) if how.detach else found

    def weighed(self, delta):
        if self.config.saliency.mode == "scaled":
            delta = abs(delta) / 0.1
        return delta * self.train["image"]

    def second_loss(self, w, arch, delta):
        scale = 4 if self.config.arch.sum else 1
        loss = self.entropy(w, arch, self.weighed(delta), self.train["label"])
        return scale * loss

    def by_hand(self, arch):
        x, t = self.train["image"], self.train["label"]
        first = lambda w: self.entropy(w, arch, x, t)
        w1 = self.moved(self.state.w, self.state.weight_opt, first)
        delta = self.delta(w1, arch)
        network = self.state.second
        second = lambda w: self.second_loss(w, arch, delta)
        w2 = self.moved(network.w, network.opt, second)
        at = lambda w: self.entropy(w, arch, self.val["image"], self.val["label"])
        return at(w2) + self.config.arch.gamma * at(w1)


CASES = {
    "default": {},
    "as printed": {
        "saliency": {"ascent": "gradient", "rate": 0.01}, "arch": {"sum": True}
    },
    "gamma, scaled": {"saliency": {"mode": "scaled"}, "arch": {"gamma": 0.3}},
    "labels": {"saliency": {"labels": True}},
    "detached": {"saliency": {"detach": True}},
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_step_of_alpha_is_the_composition(name, monkeypatch):
    """With live momentum and each switch, by reverse over reverse."""
    made = Made(monkeypatch, **CASES[name])
    value, slope = jax.jit(jax.value_and_grad(made.by_hand))(made.state.arch)
    found, grad = made.gradient()
    close(found, value, 1e-6)  # the schedule is in float32
    for kind in SPACE.types:
        np.testing.assert_allclose(grad[kind], slope[kind], rtol=1e-5, atol=1e-10)


def test_the_switch_to_finite_differences(monkeypatch):
    """Close to the exact products, and not equal."""
    exact = Made(monkeypatch).gradient()[1]["normal"]
    twin = Made(monkeypatch, own={"finite_difference": True}).gradient()[1]["normal"]
    error = abs(twin - exact).max() / abs(exact).max()
    assert 1e-9 < error < 1e-3


@pytest.mark.parametrize("name", CASES)
def test_a_step_of_the_second_network(name, monkeypatch):
    """SGD at W1's rate of this time, on images that W1 reweights; all else stays."""
    made = Made(monkeypatch, **CASES[name])
    delta = made.delta(made.state.w, made.state.arch)
    network = made.state.second
    loss_of = lambda w: made.second_loss(w, made.state.arch, delta)
    expected = jax.jit(lambda: made.moved(network.w, network.opt, loss_of))()
    after, metrics = made.second_step()
    close(metrics["second_loss"], loss_of(network.w), 1e-6)
    jax.tree.map(lambda a, b: close(a, b, 1e-6), after.second.w, expected)
    assert after.second.batch_stats["seen"] == network.batch_stats["seen"] + 1
    for field in set(SearchState._fields) - {"second", "key"}:
        before, now = (getattr(state, field) for state in (made.state, after))
        jax.tree.map(np.testing.assert_array_equal, before, now)


def test_first_order_takes_both_networks_as_they_are(monkeypatch):
    made = Made(monkeypatch, base="darts_first", arch={"gamma": 0.3})
    assert made.search.direction.name == "sanas_first_order"
    at = lambda w, arch: made.entropy(w, arch, made.val["image"], made.val["label"])
    value, slope = jax.value_and_grad(
        lambda arch: at(made.state.second.w, arch) + 0.3 * at(made.state.w, arch)
    )(made.state.arch)
    found, grad = made.gradient()
    close(found, value)
    for kind in SPACE.types:
        np.testing.assert_allclose(grad[kind], slope[kind], rtol=1e-9, atol=1e-13)


def test_other_bases_are_refused():
    config = default()
    config.base = "amended"
    with pytest.raises(
        ValueError, match="base is 'amended'; expected 'darts_first' or"
    ):
        ALGORITHMS["sanas"](problem_of(config), config.arch)


@pytest.mark.parametrize("ascent", ["pgd", "gradient"])
@pytest.mark.parametrize("differences", [False, True])
def test_four_devices_are_one(ascent, differences):
    """The hypergradient under pmap, with moments of the whole batch in the network."""
    w, arch, train, val = toy()
    keys = jax.random.split(jax.random.key(0), B)

    def found(axis):
        def scores(w, arch, batch, images):
            flat = images.reshape(len(images), 6)
            flat = flat - parallel.mean(flat.mean(0), axis)[None]
            return jnp.sin(jnp.tanh(flat @ w["a"]) * jnp.exp(arch)[None]) @ w["b"]

        def plain(w, arch, batch):
            each = optax.softmax_cross_entropy_with_integer_labels(
                scores(w, arch, batch, batch["image"]), batch["label"]
            )
            return each.mean()

        shared, mean = parallel.shared, parallel.averaged(plain, axis)
        logits = lambda w, a, batch, images: shared(
            lambda w, a, images: scores(w, a, batch, images), axis
        )(w, a, images)
        along = products.along
        of_delta = products.along
        if differences:
            along, of_delta = (
                finite_difference.along(norm=n) for n in (None, norm(axis))
            )
        middle = saliency_level(
            logits, ATTACK, ascent=ascent, along=of_delta, axis=axis
        )
        estimator = chain(
            [
                descend("w1", lambda s, a, x: mean(s["w1"], a, x), optax.sgd(XI1), along),
                middle,
                descend(
                    "w2",
                    lambda s, a, x: parallel.whole(len(x["label"]), axis)
                    * mean(s["w2"], a, weighed(x, s["saliency"])),
                    optax.sgd(XI2), along,
                ),
            ],
            lambda s, a, x: mean(s["w2"], a, x) + GAMMA * mean(s["w1"], a, x),
        )  # fmt: skip

        def run(train, val):
            delta = saliency.start(train["image"], train["key"], ATTACK)
            return estimator({**w, "saliency": delta}, arch, train, val).grad

        return run

    batches = {**train, "key": keys}, val
    one = jax.jit(found(None))(*batches)
    cut = jax.tree.map(lambda leaf: leaf.reshape(4, 1, *leaf.shape[1:]), batches)
    many = jax.pmap(found(parallel.AXIS), parallel.AXIS)(*cut)
    for device in range(4):
        close(many[device], one, 1e-8)


def test_switches_name_the_estimator():
    for field, value, name in (
        ("ascent", "pgd", "sanas_unrolled"),
        ("ascent", "gradient", "sanas_unrolled_gradient"),
        ("detach", True, "sanas_unrolled_detached"),
    ):
        config = default()
        config.saliency[field] = value
        problem = problem_of(config)
        assert ALGORITHMS["sanas"](problem, config.arch).direction.name == name
    config = default()
    config.arch.darts_second.finite_difference = True
    search = ALGORITHMS["sanas"](problem_of(config), config.arch)
    assert search.direction.name == "sanas_unrolled_finite_difference"


def test_every_level_at_its_own_cadence():
    """30 steps of the default frequencies: 30 of W1, 10 of W2, 6 of alpha; and W2 sees
    the batch that W1 has just seen."""
    config = default()
    built = ALGORITHMS["sanas"](problem_of(config), config.arch)
    assert (built.cadence.every, built.further[0].cadence) == (5, Cadence(0, 3))
    seen = []

    def count(name):
        def step(state, *batches):
            jax.debug.callback(
                lambda image: seen.append((name, image.sum())),
                batches[-1]["image"],
                ordered=True,
            )
            more = {"step": state.step + 1} if name == "w1" else {}
            return state._replace(**more), {name: jnp.ones(())}

        return step

    init = lambda key: SearchState(jnp.int32(0), key, (), (), {}, (), ())
    direction = Direction("none", lambda *_: (), lambda *_: (), 1.0)
    search = Search(
        init, count("w1"), count("alpha"), built.cadence, lambda arch: arch, direction,
        further=(Further("second", count("w2"), built.further[0].cadence, 1.0),),
    )  # fmt: skip
    draws = np.random.default_rng(0)
    part = Part(draws.integers(0, 255, (64, 8, 8, 1), np.uint8), np.zeros(64, np.int32))
    whole = default()
    whole.search.batch = 8
    phase = phases.search_phase(
        "search", search, problem_of(config), part, part, Augment(),
        whole, jax.random.key(0), jax.devices()[:1], SimpleNamespace(),
    )  # fmt: skip
    state = phase.init()
    for index in range(30):
        state, metrics = phase.step(state, index)
    jax.effects_barrier()
    names = [name for name, _ in seen]
    assert {name: names.count(name) for name in set(names)} == {
        "w1": 30, "w2": 10, "alpha": 6
    }  # fmt: skip
    assert names[:8] == ["alpha", "w1", "w2", "w1", "w1", "w1", "w2", "w1"]
    for before, (name, image) in itertools.pairwise(seen):
        assert name != "w2" or before == ("w1", image)
    assert set(metrics) == {"w1", "w2", "alpha"}
