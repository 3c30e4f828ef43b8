"""The gradient searches on a real supernet, in float64, against independent oracles."""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import TwoCells

from nasjax import hypergrad, nets, optim
from nasjax.search import ALGORITHMS, Problem
from nasjax.search.losses import losses
from nasjax.spaces import darts

ADAM = {"every": 1, "rate": 3e-4, "b1": 0.5, "b2": 0.999, "weight_decay": 1e-3}
SPACE = darts(("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3"))


def make(channels=4, **more):
    """A problem of two cells on 8x8 images."""
    return Problem(
        space=SPACE,
        model=nets.supernet(
            SPACE, TwoCells(channels, 2), 3, "shift", auxiliary="auxiliary" in more
        ),
        image_shape=(8, 8, 1),
        sgd=lambda rate, clip=True: optim.sgd(rate, 0.9, 3e-2, 1e-2 * clip),
        rate=optim.cosine(0.2, 0.02, 4, 2),
        steps_per_epoch=2,
        epochs=4,
        warmup_epochs=0,
        **more,
    )


def batches(count, size=4):
    draws = np.random.default_rng(1)
    made = [
        {
            "image": draws.normal(size=(size, 8, 8, 1)),
            "label": draws.integers(0, 3, size),
            "key": jax.random.split(jax.random.key(i), size),
        }
        for i in range(count)
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *made)


def alone(tree):
    return jax.tree.map(lambda leaf: leaf[0], tree)


@pytest.fixture(scope="module")
def started():
    """A search after two weight steps, so that momentum and schedule are live."""
    with jax.enable_x64(True):
        problem = make()
        search = ALGORITHMS["darts_second"](
            problem, SimpleNamespace(finite_difference=False, **ADAM)
        )
        state = jax.jit(search.init)(jax.random.key(0))
        wide = lambda leaf: (
            leaf.astype(jnp.float64)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
            else leaf
        )
        state = jax.tree.map(wide, state)
        step = jax.jit(search.weight_step)
        for i in range(2):
            state, _ = step(state, jax.tree.map(lambda leaf, i=i: leaf[i], batches(2)))
        yield problem, search, state


def with_state(batch, state):
    return batch | {
        "batch_stats": state.batch_stats,
        "mix_key": jax.random.key(0),
        "drop_path": 0.0,
    }


def test_the_virtual_step_is_sgds_without_clipping(started, float64):
    """w' = w - xi (mu b + g + lambda w), xi the rate of this epoch; then Adam."""
    problem, search, state = started
    supernet = losses(problem)
    train, val = alone(batches(1)), alone(batches(1, 6))
    buffer = state.weight_opt[2].trace
    xi = float(problem.rate(state.step))
    assert xi != 0.2 and jax.tree.leaves(buffer)[0].any()

    def total(arch):
        g = jax.grad(supernet.train)(state.w, arch, with_state(train, state))
        after = jax.tree.map(
            lambda w, g, b: w - xi * (0.9 * b + g + 3e-2 * w), state.w, g, buffer
        )
        return supernet.val(after, arch, with_state(val, state))

    value, slope = jax.jit(jax.value_and_grad(total))(state.arch)
    adam = optim.adam(*(ADAM[k] for k in ("rate", "b1", "b2", "weight_decay")))
    updates, _ = adam.update(slope, state.arch_opt, state.arch)
    expected = optax.apply_updates(state.arch, updates)
    many = jax.tree.map(lambda leaf: leaf[None], train)
    after, metrics = jax.jit(search.arch_step)(state, many, val)
    # The schedule is in float32, which rounds differently in another program.
    np.testing.assert_allclose(metrics["val_loss"], value, rtol=1e-6)
    for kind in SPACE.types:
        np.testing.assert_allclose(after.arch[kind], expected[kind], rtol=1e-5)


def test_second_order_equals_central_differences(started, float64):
    """To 1e-6 at a step of 1e-6 or 1e-7; larger ones cross kinks."""
    problem, _, state = started
    supernet = losses(problem)
    virtual = problem.sgd(problem.rate, clip=False)
    estimator = hypergrad.unrolled(supernet.train, supernet.val, virtual)
    report = hypergrad.check(
        estimator,
        state.w,
        state.arch,
        with_state(alone(batches(1)), state),
        with_state(alone(batches(1, 6)), state),
        state.weight_opt,
        directions=2,
        steps=(1e-3, 1e-5, 1e-6, 1e-7),
    )
    assert report.agrees, report
    assert min(report.errors[2:]) < 1e-6, report


SETTINGS = {
    "darts_first": {},
    "darts_second": {"finite_difference": False},
    "unrolled_finite_difference": {"finite_difference": True},
    "amended": {"finite_difference": False, "eta": 0.1},
    "amended_finite_difference": {"finite_difference": True, "eta": 0.1},
    "implicit": {
        "inverse": "cg", "curvature": "ggn", "damping": 0.1, "max_steps": 3,
        "tolerance": 1e-3, "terms": 3, "neumann_rate": 0.1,
    },
}  # fmt: skip
SETTINGS["neumann"] = SETTINGS["implicit"] | {"inverse": "neumann"}
SETTINGS["hessian"] = SETTINGS["implicit"] | {"curvature": "hessian"}
ESTIMATORS = {
    "darts_first": "first_order",
    "darts_second": "unrolled",
    "unrolled_finite_difference": "unrolled_finite_difference",
    "amended": "implicit_amended",
    "amended_finite_difference": "amended_finite_difference",
    "implicit": "implicit_cg_ggn",
    "neumann": "implicit_neumann_ggn",
    "hessian": "implicit_cg_hessian",
}


def built(name, problem):
    algorithm = {
        "unrolled_finite_difference": "darts_second",
        "amended_finite_difference": "amended",
        "neumann": "implicit",
        "hessian": "implicit",
    }.get(name, name)
    return ALGORITHMS[algorithm](problem, SimpleNamespace(**SETTINGS[name], **ADAM))


@pytest.mark.parametrize("name", SETTINGS)
def test_switches_choose_the_estimator_and_its_name(name):
    assert built(name, make()).direction.name == ESTIMATORS[name]


def test_damping_is_added_to_the_curvature(started, float64):
    """(G + 0.1 I) v, and v'Gv is the second derivative through the logits alone."""
    from nasjax.search.implicit import damped

    problem, _, state = started
    supernet, batch = losses(problem), with_state(alone(batches(1)), state)
    v = jax.tree.map(
        lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=float)).reshape(leaf.shape),
        state.w,
    )
    product = lambda damping: damped(supernet, "ggn", damping)(
        None, state.w, state.arch, batch, v
    )
    plain, more = jax.jit(lambda: (product(0.0), product(0.1)))()
    for p, m, u in zip(*map(jax.tree.leaves, (plain, more, v)), strict=True):
        np.testing.assert_allclose(m, p + 0.1 * u, rtol=1e-9, atol=1e-12)

    def quadratic(t):
        """The loss on the line of logits that v draws."""
        run = lambda w: supernet.outputs(w, state.arch, batch).logits
        logits, moved = jax.jvp(run, (state.w,), (v,))
        label = batch["label"]
        entropy = optax.softmax_cross_entropy_with_integer_labels
        return entropy(logits + t * moved, label).mean()

    curvature = jax.jit(jax.grad(jax.grad(quadratic)))(0.0)
    found = sum(
        jnp.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (plain, v)), strict=True)
    )
    np.testing.assert_allclose(found, curvature, rtol=1e-8)
    assert curvature > 0


def test_the_auxiliary_head_and_drop_path_are_in_the_training_loss():
    """The head's loss is weighed and counts in `train` alone; paths drop in both."""
    plain = make(2)
    problem = make(2, auxiliary=0.4)
    search = built("darts_first", problem)
    state = jax.jit(search.init)(jax.random.key(0))
    batch = with_state(alone(batches(1)), state)
    out, _ = jax.jit(functools.partial(problem.model.apply, train=True))(
        {"params": state.w, "batch_stats": state.batch_stats},
        search.mix(state.arch),
        batch["image"],
    )
    entropy = lambda z: optax.softmax_cross_entropy_with_integer_labels(
        z, batch["label"]
    ).mean()
    supernet = losses(problem)
    np.testing.assert_allclose(
        jax.jit(supernet.val)(state.w, state.arch, batch),
        entropy(out.logits),
        rtol=1e-5,
    )
    np.testing.assert_allclose(
        jax.jit(supernet.train)(state.w, state.arch, batch),
        entropy(out.logits) + 0.4 * entropy(out.auxiliary),
        rtol=1e-5,
    )
    dropping = plain._replace(drop_path=0.5)
    state = jax.jit(built("darts_first", dropping).init)(jax.random.key(0))
    batch = with_state(alone(batches(1)), state)
    train = jax.jit(losses(dropping).train)
    at = lambda rate: train(state.w, state.arch, batch | {"drop_path": rate})
    kept = jax.jit(losses(plain).train)(state.w, state.arch, batch)
    np.testing.assert_allclose(at(0.0), kept, rtol=1e-5)
    assert abs(at(0.5) - kept) > 1e-3
