"""SANAS' four levels, in float64: on a smooth toy, term by term, and on a supernet."""

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

from nasjax import hypergrad, nets, optim, phases, saliency
from nasjax.data.augment import Augment
from nasjax.data.splits import Part
from nasjax.hypergrad import Level, chain, descend, finite_difference
from nasjax.saliency import Attack
from nasjax.search import ALGORITHMS, Cadence, Problem, SearchState
from nasjax.search.base import Direction, Further, Search
from nasjax.search.sanas import saliency_level
from nasjax.spaces import Macro, darts

XI1, XI2, GAMMA, B = 0.3, 0.2, 0.7, 4
ATTACK = Attack(7, 0.1, 0.03, (0.4,), (0.5,))


@pytest.fixture(autouse=True)
def precise(float64):
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


def supernet_problem(config):
    space = darts(("skip_connect", "dil_conv_3x3"))
    return Problem(
        space=space,
        model=nets.supernet(space, Macro(2, 2), 3, "shift"),
        image_shape=(8, 8, 1),
        sgd=lambda rate, clip=True: optim.sgd(rate, 0.9, 3e-2, 1e-2 * clip),
        rate=optim.cosine(0.2, 0.02, 4, 2),
        steps_per_epoch=2,
        epochs=4,
        warmup_epochs=0,
        base=config.base,
        attack=Attack(mean=(0.5,), std=(0.3,)),
        saliency=config.saliency,
    )


def images(seed, size):
    draws = np.random.default_rng(seed)
    return {
        "image": (draws.uniform(size=(size, 8, 8, 1)) - 0.5) / 0.3,
        "label": jnp.asarray(draws.integers(0, 3, size)),
        "key": jax.random.split(jax.random.key(seed), size),
    }


@pytest.mark.slow
def test_a_step_on_a_supernet_is_the_composition(compiled_quickly):
    """The step of alpha with live momentum, eqs. 2 and 3 as they are printed, against
    central differences of the value."""
    config = default(sum=True)
    config.saliency.update(ascent="gradient", rate=1e-3)
    problem = supernet_problem(config)
    search = ALGORITHMS["sanas"](problem, config.arch)
    wide = lambda leaf: (
        leaf.astype(jnp.float64) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
    )
    state = jax.tree.map(wide, search.init(jax.random.key(0)))
    train, val = images(1, 4), images(2, 6)
    state, _ = jax.jit(search.weight_step)(state, train)
    state, _ = jax.jit(search.further[0].step)(state, train)
    xi = problem.rate(state.step)

    def run(w, arch, image):
        variables = {"params": w, "batch_stats": state.batch_stats}
        mix = search.mix(arch)
        out, _ = problem.model.apply(variables, mix, image, train=True)
        return out.logits

    def entropy(w, arch, image, label):
        each = optax.softmax_cross_entropy_with_integer_labels(
            run(w, arch, image), label
        )
        return each.mean()

    def moved(w, opt, loss_of):
        return jax.tree.map(
            lambda w, g, b: w - xi * (0.9 * b + g + 3e-2 * w),
            w, jax.grad(loss_of)(w), opt[2].trace,
        )  # fmt: skip

    def by_hand(arch):
        x, t = train["image"], train["label"]
        w1 = moved(state.w, state.weight_opt, lambda w: entropy(w, arch, x, t))

        def rise(delta):
            target = jax.nn.softmax(run(w1, arch, x))
            return -(target * jax.nn.log_softmax(run(w1, arch, x + delta / 0.3))).sum()

        start = saliency.start(x, train["key"], problem.attack)
        delta = start + 1e-3 * jax.grad(rise)(start)
        second = lambda w: 4 * entropy(w, arch, delta * x, t)
        w2 = moved(state.second.w, state.second.opt, second)
        at = lambda w: entropy(w, arch, val["image"], val["label"])
        return at(w2) + at(w1)

    flat, restore = jax.flatten_util.ravel_pytree(state.arch)
    moves = 1e-6 * jnp.concatenate([jnp.zeros((1, flat.size)), *_both(flat.size)])
    many = jax.jit(
        lambda moves: jax.lax.map(lambda d: by_hand(restore(flat + d)), moves)
    )
    value, *ends = many(moves)
    ahead, behind = np.split(np.array(ends), 2)
    slope = restore((ahead - behind) / 2e-6)
    batches = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], train)
    after, metrics = jax.jit(search.arch_step)(state, batches, val)
    own = config.arch.darts_second
    adam = optim.adam(own.rate, own.b1, own.b2, own.weight_decay)
    updates, _ = adam.update(slope, state.arch_opt, state.arch)
    close(metrics["val_loss"], value, 1e-6)
    close(metrics["hypergrad_norm"], optax.tree.norm(slope), 1e-5)
    for kind in problem.space.types:
        close(after.arch[kind], state.arch[kind] + updates[kind], 1e-4)


def _both(size):
    return jnp.eye(size), -jnp.eye(size)


@pytest.mark.slow
def test_first_order_takes_both_networks_as_they_are(compiled_quickly):
    """And the second network's step is SGD's on images reweighted by the first's
    saliency; neither touches the other."""
    config = default()
    config.base = "darts_first"
    problem = supernet_problem(config)
    search = ALGORITHMS["sanas"](problem, config.arch)
    assert search.direction.name == "sanas_first_order"
    state, train, val = search.init(jax.random.key(0)), images(1, 4), images(2, 6)

    def held_out(arch):
        total = 0.0
        for w in (state.w, state.second.w):
            variables = {"params": w, "batch_stats": state.batch_stats}
            out, _ = problem.model.apply(
                variables, search.mix(arch), val["image"], train=True
            )
            total += optax.softmax_cross_entropy_with_integer_labels(
                out.logits, val["label"]
            ).mean()
        return total

    many = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], train)
    _, metrics = jax.jit(search.arch_step)(state, many, val)
    value, slope = jax.jit(jax.value_and_grad(held_out))(state.arch)
    close(metrics["val_loss"], value, 1e-5)
    close(metrics["hypergrad_norm"], optax.tree.norm(slope), 1e-4)

    def run(w, image):
        variables = {"params": w, "batch_stats": state.batch_stats}
        mix = search.mix(state.arch)
        return problem.model.apply(variables, mix, image, train=True)[0].logits

    def second_loss(w):
        delta = saliency.find(
            lambda x: run(state.w, x), train["image"], train["key"], problem.attack
        )
        each = optax.softmax_cross_entropy_with_integer_labels(
            run(w, delta * train["image"]), train["label"]
        )
        return each.mean()

    after, metrics = jax.jit(search.further[0].step)(state, train)
    value, slope = jax.jit(jax.value_and_grad(second_loss))(state.second.w)
    close(metrics["second_loss"], value, 1e-5)
    optimizer = problem.sgd(problem.rate)
    updates, _ = optimizer.update(slope, state.second.opt, state.second.w)
    expected = optax.apply_updates(state.second.w, updates)
    for a, b in zip(*map(jax.tree.leaves, (after.second.w, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for field in set(SearchState._fields) - {"second", "key"}:
        jax.tree.map(
            np.testing.assert_array_equal, getattr(state, field), getattr(after, field)
        )


def test_switches_name_the_estimator():
    for field, value, name in (
        ("ascent", "pgd", "sanas_unrolled"),
        ("ascent", "gradient", "sanas_unrolled_gradient"),
        ("detach", True, "sanas_unrolled_detached"),
    ):
        config = default()
        config.saliency[field] = value
        problem = supernet_problem(config)
        assert ALGORITHMS["sanas"](problem, config.arch).direction.name == name
    config = default()
    config.arch.darts_second.finite_difference = True
    search = ALGORITHMS["sanas"](supernet_problem(config), config.arch)
    assert search.direction.name == "sanas_unrolled_finite_difference"


def test_every_level_at_its_own_cadence():
    """30 steps of the default frequencies: 30 of W1, 10 of W2, 6 of alpha; and W2 sees
    the batch that W1 has just seen."""
    config = default()
    built = ALGORITHMS["sanas"](supernet_problem(config), config.arch)
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
        "search", search, supernet_problem(config), part, part, Augment(),
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
