"""SANAS' four levels on a smooth network, in float64, term by term."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasjax import hypergrad, saliency
from nasjax.engine.devices import AXIS, Devices
from nasjax.hypergrad import Level, chain, descend, finite_difference, products
from nasjax.saliency import Attack
from nasjax.search.saliency_level import saliency_level

XI1, XI2, GAMMA, B = 0.3, 0.2, 0.7, 4
ATTACK = Attack(7, 0.1, 0.03, (0.4,), (0.5,), "pgd", "soft", 0.05)


@pytest.fixture(autouse=True)
def precise(float64):
    """Runs all tests in double precision."""


def logits(w, arch, batch, images):
    """The logits of a smooth network of 2x3 pixels; alpha weights its units."""
    del batch
    hidden = jnp.tanh(images.reshape(len(images), 6) @ w["a"])
    return jnp.sin(hidden * jnp.exp(arch)[None]) @ w["b"]


def loss(w, arch, batch):
    scores = logits(w, arch, batch, batch["image"])
    each = optax.softmax_cross_entropy_with_integer_labels(scores, batch["label"])
    return each.mean() + 0.01 * jnp.sum(arch**2) * jnp.sum(w["b"] ** 2)


def toy(seed=0):
    """(w, arch, train_batch, val_batch), where w contains a random delta."""
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


@functools.cache
def point():
    return toy()


def weighed(batch, delta):
    return batch | {"image": batch["image"] * delta}


def validation(s, arch, batch, gamma=GAMMA):
    return loss(s["w2"], arch, batch) + gamma * loss(s["w1"], arch, batch)


def four(middle, gamma=GAMMA, along=None):
    """The paper's chain of levels, with `middle` as its saliency level."""
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


LITERAL = {"ascent": "gradient", "steps": 1}  # one step of eq. 2


def level(along=products.along, detach=False, **switches):
    """The saliency level of an attack with these switches."""
    attack = ATTACK._replace(**switches)
    return saliency_level(logits, attack, Devices.of(1), detach, along)


@functools.cache
def compiled(**switches):
    """The jitted chain whose saliency level has these switches."""
    return jax.jit(four(level(**switches)))


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
    """The hypergradient agrees with a derivation by hand and with central differences."""
    w, arch, train, val = point()

    def by_hand(arch):
        w1 = stepped(w["w1"], lambda w: loss(w, arch, train), XI1)
        rise = jax.grad(divergence)(w["saliency"], w1, arch, train)
        delta = w["saliency"] + 0.05 * rise
        delta = saliency.into_range(train["image"], delta, ATTACK)
        w2 = stepped(w["w2"], lambda w: loss(w, arch, weighed(train, delta)), XI2)
        return validation({"w1": w1, "w2": w2}, arch, val)

    found = compiled(**LITERAL)(w, arch, train, val)
    value, grad = jax.jit(jax.value_and_grad(by_hand))(arch)
    close(found.value, value)
    close(found.grad, grad)
    draws = np.random.default_rng(1)
    objective = jax.jit(by_hand)
    for way in (draws.normal(size=4) / 2 for _ in range(3)):
        differences = (
            objective(arch + 1e-5 * way) - objective(arch - 1e-5 * way)
        ) / 2e-5
        np.testing.assert_allclose(found.grad @ way, differences, rtol=1e-6)


@jax.jit
def terms(w, arch, train, val, found, rate):
    """Eqs. 5 to 19 by full matrices of second derivatives, at delta' = `found`."""
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
        """d2 f / d `of` d `to`; its rows belong to argument `of`."""
        return jax.jacfwd(jax.grad(f, to), of)(*at).T

    v2, direct2 = jax.grad(held_out, (0, 1))(w2, arch)
    v1, direct1 = jax.grad(held_out, (0, 1))(w1, arch)
    q = -XI2 * matrix(third, 0, 1, start2, delta, arch) @ v2  # eq. 11
    r = matrix(ascent, 0, 1, delta, w1, arch) @ (rate * q)  # eq. 15
    pull = -XI1 * matrix(first, 0, 1, start1, arch)  # eq. 19
    return {
        "direct": direct2 + GAMMA * direct1,
        "w2": -XI2 * matrix(third, 0, 2, start2, delta, arch) @ v2,  # eq. 13
        "delta": matrix(ascent, 0, 2, delta, w1, arch) @ (rate * q),  # eq. 17
        "delta_w1": pull @ r,
        "w1": pull @ (GAMMA * v1),  # eq. 5
    }


@jax.jit
def attacked(w, arch, train):
    """(W1', delta of the PGD attack), by hand."""
    w1 = stepped(w["w1"], lambda w: loss(w, arch, train), XI1)
    slope = lambda delta: jax.grad(divergence)(delta, w1, arch, train)
    return w1, saliency.ascend(slope, train["image"], w["saliency"], ATTACK)


def test_the_surrogate_is_the_products_of_eqs_10_to_19():
    w, arch, train, val = point()
    w1, delta = attacked(w, arch, train)
    found = compiled()(w, arch, train, val)
    parts = terms(w, arch, train, val, delta, 0.05)
    close(found.grad, sum(parts.values()))

    @jax.jit
    def value(w, w1, delta):
        w2 = stepped(w["w2"], lambda w: loss(w, arch, weighed(train, delta)), XI2)
        return validation({"w1": w1, "w2": w2}, arch, val)

    close(found.value, value(w, w1, delta))


def test_each_path_through_delta_is_its_term():
    w, arch, train, val = point()
    parts = terms(w, arch, train, val, attacked(w, arch, train)[1], 0.05)
    stop = jax.lax.stop_gradient
    blind = {
        "delta": lambda w, a, *rest: logits(w, stop(a), *rest),
        "delta_w1": lambda w, a, *rest: logits(stop(w), a, *rest),
    }
    whole = compiled()(w, arch, train, val).grad
    for name, without in blind.items():
        middle = saliency_level(without, ATTACK, Devices.of(1))
        rest = jax.jit(four(middle))(w, arch, train, val).grad
        assert abs(parts[name]).max() > 1e-5 * abs(whole).max(), "the path is there"
        close(whole - rest, parts[name], rtol=1e-7)
    cut = compiled(detach=True)(w, arch, train, val)
    close(whole - cut.grad, parts["delta"] + parts["delta_w1"], rtol=1e-7)


def test_the_usual_rate_is_a_step_over_the_mean_gradient():
    """The rate of an image counts as constant: giving it has the same hypergradient."""
    w, arch, train, val = point()
    w1, delta = attacked(w, arch, train)
    slope = jax.jit(jax.grad(divergence))(delta, w1, arch, train)
    mean = abs(slope).mean((1, 2, 3))[:, None].repeat(6, 1).reshape(-1, 1)
    own = compiled(rate=0.0)(w, arch, train, val)
    given = terms(w, arch, train, val, delta, 0.03 / mean[:, 0])
    close(own.grad, sum(given.values()))


@pytest.mark.parametrize("target", ["predicted", "label"])
def test_classes_are_attacked_if_asked_for(target):
    w, arch, train, val = point()
    w1, _ = attacked(w, arch, train)
    scores = logits(w1, arch, train, train["image"])
    aim = jax.nn.one_hot(train["label"] if target == "label" else scores.argmax(-1), 3)

    @jax.jit
    def by_hand(delta):
        rise = lambda d: saliency.divergence(
            logits(w1, arch, train, train["image"] + d / 0.5), aim
        )
        return saliency.ascend(jax.grad(rise), train["image"], delta, ATTACK)

    expected = by_hand(w["saliency"])
    update = level(target=target, detach=True).update
    found = jax.jit(lambda w: update(w, arch, train, None))({**w, "w1": w1})
    close(found, expected)
    assert abs(found - attacked(w, arch, train)[1]).max() > 0.01


def test_iterated_eq_2_is_its_last_step():
    """The default: eq. 2 in the ball, from the delta before, against a class."""
    w, arch, train, val = point()
    switches = {"ascent": "gradient", "target": "predicted", "rate": 0.0, "steps": 3}
    before = level(**{**switches, "steps": 2}, detach=True).update
    stop = jax.lax.stop_gradient

    def by_hand(arch):
        w1 = stepped(w["w1"], lambda w: loss(w, arch, train), XI1)
        delta = stop(before({**w, "w1": w1}, arch, train, None))
        aim = stop(
            jax.nn.one_hot(logits(w1, arch, train, train["image"]).argmax(-1), 3)
        )
        rise = lambda d: optax.softmax_cross_entropy(
            logits(w1, arch, train, train["image"] + d / 0.5), aim
        ).sum()
        g = jax.grad(rise)(delta)
        xi = 0.03 / stop(abs(g)).mean((1, 2, 3))
        delta = saliency.into_range(
            train["image"], delta + xi[:, None, None, None] * g, ATTACK
        )
        w2 = stepped(w["w2"], lambda w: loss(w, arch, weighed(train, delta)), XI2)
        return validation({"w1": w1, "w2": w2}, arch, val)

    found = compiled(**switches)(w, arch, train, val)
    value, grad = jax.jit(jax.value_and_grad(by_hand))(arch)
    close(found.value, value)
    close(found.grad, grad)
    cut = compiled(**switches, detach=True)(w, arch, train, val)
    close(cut.value, value)
    assert abs(found.grad - cut.grad).max() > 1e-5 * abs(grad).max()


def test_with_delta_fixed_and_gamma_0_it_is_one_unrolled_step():
    w, arch, train, val = point()
    delta = 0.05 * jnp.cos(jnp.arange(24.0)).reshape(B, 2, 3, 1)
    middle = Level("saliency", lambda *_: delta)
    found = jax.jit(four(middle, gamma=0.0))(w, arch, train, val)
    one = hypergrad.unrolled(loss, loss, optax.sgd(XI2))
    expected = jax.jit(one)(w["w2"], arch, weighed(train, delta), val)
    close(found.value, expected.value)
    close(found.grad, expected.grad)


@pytest.mark.parametrize("ascent", ["pgd", "gradient"])
def test_finite_differences_approach_the_chain_at_second_order(ascent):
    w, arch, train, val = point()
    switches = {} if ascent == "pgd" else LITERAL
    exact = compiled(**switches)(w, arch, train, val)

    @jax.jit
    def twin(times):
        """The estimate by finite differences with epsilon 0.02 * `times`."""
        along = finite_difference.along(0.02, lambda v: optax.tree.norm(v) / times)
        estimator = four(level(along=along, **switches), along=along)
        return estimator(w, arch, train, val)

    def error(times):
        found = twin(times)
        close(found.value, exact.value)
        return np.linalg.norm(found.grad - exact.grad)

    large, small = error(2.0), error(1.0)
    assert small < 1e-3 * np.linalg.norm(exact.grad)
    assert 3.7 < large / small < 4.3


@pytest.mark.parametrize(
    ("ascent", "differences"), [("pgd", False), ("gradient", True)]
)
def test_four_devices_are_one(ascent, differences):
    """The hypergradient under pmap; the network has moments of the global batch."""
    w, arch, train, val = point()
    keys = jax.random.split(jax.random.key(0), B)

    def found(devices):
        def scores(w, arch, batch, images):
            flat = images.reshape(len(images), 6)
            flat = flat - devices.mean(flat.mean(0))[None]
            return jnp.sin(jnp.tanh(flat @ w["a"]) * jnp.exp(arch)[None]) @ w["b"]

        def plain(w, arch, batch):
            each = optax.softmax_cross_entropy_with_integer_labels(
                scores(w, arch, batch, batch["image"]), batch["label"]
            )
            return each.mean()

        shared, mean = devices.shared, devices.averaged(plain)
        logits = lambda w, a, batch, images: shared(
            lambda w, a, images: scores(w, a, batch, images)
        )(w, a, images)
        along = products.along
        of_delta = products.along
        if differences:
            along, of_delta = (
                finite_difference.along(norm=n) for n in (None, devices.norm)
            )
        attack = ATTACK._replace(ascent=ascent)
        middle = saliency_level(logits, attack, devices, along=of_delta)
        estimator = chain(
            [
                descend("w1", lambda s, a, x: mean(s["w1"], a, x), optax.sgd(XI1), along),
                middle,
                descend(
                    "w2",
                    lambda s, a, x: devices.global_size(len(x["label"]))
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
    one = jax.jit(found(Devices.of(1)))(*batches)
    cut = jax.tree.map(lambda leaf: leaf.reshape(4, 1, *leaf.shape[1:]), batches)
    many = jax.pmap(found(Devices.of(4, "pmap")), AXIS)(*cut)
    for device in range(4):
        close(many[device], one, 1e-8)
