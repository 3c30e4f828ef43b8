"""The gradient searches in float64 against independent computations: on the toy
network, and once on a real supernet."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support import harness
from support.tiny import TwoCells
from support.toy import toy

from nasjax import hypergrad, nets
from nasjax.engine import optim
from nasjax.search import Training, compose
from nasjax.spaces import darts
from nasjax.tasks.base import At

ADAM = {"every": 1, "rate": 3e-4, "b1": 0.5, "b2": 0.999, "weight_decay": 1e-3}
SPACE = darts(("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3"))


TRAINING = Training(
    optimizer=lambda rate, clip=True: optim.sgd(rate, 0.9, 3e-2, 1e-2 * clip),
    rate=optim.cosine(0.2, 0.02, 4, 2),
    epochs=4,
    steps_per_epoch=2,
    warmup_epochs=0,
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
    """A search after two weight steps, with momentum and in the schedule's second epoch."""
    with jax.enable_x64(True):
        search = built("darts_second")
        state = jax.jit(search.init)(jax.random.key(0))
        step = jax.jit(search.program("weights").step)
        for i in range(2):
            state, _ = step(state, jax.tree.map(lambda leaf, i=i: leaf[i], batches(2)))
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(state.w))
        yield search, state


def with_state(batch, state):
    return batch | {"batch_stats": state.batch_stats, "at": At(jax.random.key(0))}


def test_the_virtual_step_is_sgds_without_clipping(started, float64):
    """w' = w - xi (mu b + g + lambda w) with xi the rate of the epoch; then Adam."""
    search, state = started
    problem = search.problem
    train, val = alone(batches(1)), alone(batches(1, 6))
    buffer = state.weight_opt[2].trace
    xi = float(TRAINING.rate(state.step))
    assert xi != 0.2 and jax.tree.leaves(buffer)[0].any()

    def total(arch):
        g = jax.grad(problem.train)(state.w, arch, with_state(train, state))
        after = jax.tree.map(
            lambda w, g, b: w - xi * (0.9 * b + g + 3e-2 * w), state.w, g, buffer
        )
        return problem.val(after, arch, with_state(val, state))

    value, slope = jax.jit(jax.value_and_grad(total))(state.arch)
    adam = optim.adam(*(ADAM[k] for k in ("rate", "b1", "b2", "weight_decay")))
    updates, _ = adam.update(slope, state.arch_opt, state.arch)
    expected = optax.apply_updates(state.arch, updates)
    many = jax.tree.map(lambda leaf: leaf[None], train)
    after, metrics = jax.jit(search.program("alpha").step)(state, many, val)
    # The schedule is in float32, which rounds differently in another program.
    np.testing.assert_allclose(metrics["val_loss"], value, rtol=1e-6)
    for kind in SPACE.types:
        np.testing.assert_allclose(after.arch[kind], expected[kind], rtol=1e-5)


def test_second_order_equals_central_differences_on_a_supernet(float64):
    """Agreement to 1e-6 at a step of 1e-6 or 1e-7; larger steps cross kinks."""
    model = nets.supernet(SPACE, TwoCells(4, 2), 3, "shift")
    problem, draws = built("darts_second", model).problem, np.random.default_rng(0)
    virtual = TRAINING.optimizer(TRAINING.rate, clip=False)
    estimator = hypergrad.unrolled(problem.train, problem.val, virtual)

    def drawn(like, scale):
        """Random arrays (so momentum is not 0); integer counts are 2, the second epoch."""
        return jax.tree.map(
            lambda leaf: (
                np.asarray(2, leaf.dtype)
                if jnp.issubdtype(leaf.dtype, jnp.integer)
                else scale * draws.normal(size=leaf.shape)
            ),
            like,
        )

    params, stats = jax.eval_shape(problem.task.init, jax.random.key(0))
    w = drawn(params, 0.3)
    opt = drawn(jax.eval_shape(virtual.init, w), 0.01)
    arch = {kind: 0.1 * draws.normal(size=(14, 4)) for kind in SPACE.types}
    more = {"batch_stats": drawn(stats, 1.0), "at": At(jax.random.key(0))}
    train, val = (alone(batches(1, size)) | more for size in (4, 6))
    found = jax.jit(estimator)(w, arch, train, val, opt)
    objective = jax.jit(estimator.objective)
    np.testing.assert_allclose(
        objective(w, arch, train, val, opt), found.value, rtol=1e-9
    )
    ways = [{k: draws.normal(size=(14, 4)) / 100**0.5 for k in arch} for _ in range(2)]
    exact = [sum(np.vdot(found.grad[k], way[k]) for k in arch) for way in ways]

    def differences(step):
        at = lambda way, h: float(
            objective(w, {k: arch[k] + h * way[k] for k in arch}, train, val, opt)
        )
        return np.array([(at(way, step) - at(way, -step)) / 2 / step for way in ways])

    size, two = np.linalg.norm(exact), [differences(step) for step in (1e-6, 1e-7)]
    assert np.linalg.norm(two[0] - two[1]) < 1e-2 * size, "they agree"
    assert min(np.linalg.norm(each - exact) for each in two) < 1e-6 * size


SETTINGS = {
    "darts_first": {},
    "darts_second": {"finite_difference": False},
    "unrolled_finite_difference": {"finite_difference": True},
    "amended": {"finite_difference": False, "eta": 0.1, "two_batches": False},
    "amended_finite_difference": {
        "finite_difference": True, "eta": 0.1, "two_batches": False
    },
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


def built(name, model=None, **more):
    """A search on 8x8 images with the toy network, or with the given model."""
    algorithm = {
        "unrolled_finite_difference": "darts_second",
        "amended_finite_difference": "amended",
        "neumann": "implicit",
        "hessian": "implicit",
    }.get(name, name)
    own = {algorithm: SimpleNamespace(**SETTINGS[name], **ADAM)}
    return harness.built(compose(algorithm, own), SPACE, TRAINING, model, **more)


@pytest.mark.parametrize("name", SETTINGS)
def test_switches_choose_the_estimator_and_its_name(name):
    assert built(name).name == ESTIMATORS[name]


def test_damping_is_added_to_the_curvature(started, float64):
    """(G + 0.1 I) v, and v'Gv is the second derivative through the logits alone."""
    from nasjax.search.algorithms.implicit import damped

    search, state = started
    problem, batch = search.problem, with_state(alone(batches(1)), state)
    v = jax.tree.map(
        lambda leaf: jnp.cos(jnp.arange(leaf.size, dtype=float)).reshape(leaf.shape),
        state.w,
    )
    product = lambda damping: damped(problem, "ggn", damping)(
        None, state.w, state.arch, batch, v
    )
    plain, more = jax.jit(lambda: (product(0.0), product(0.1)))()
    for p, m, u in zip(*map(jax.tree.leaves, (plain, more, v)), strict=True):
        np.testing.assert_allclose(m, p + 0.1 * u, rtol=1e-9, atol=1e-12)

    def quadratic(t):
        """The loss along the line of logits in direction v."""
        run = lambda w: problem.outputs(w, state.arch, batch).logits
        logits, moved = jax.jvp(run, (state.w,), (v,))
        label = batch["label"]
        entropy = optax.softmax_cross_entropy_with_integer_labels
        return entropy(logits + t * moved, label).mean()

    curvature = jax.jit(jax.grad(jax.grad(quadratic)))(0.0)
    found = sum(
        np.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, (plain, v)), strict=True)
    )
    np.testing.assert_allclose(found, curvature, rtol=1e-8)
    assert curvature > 0


def test_the_auxiliary_head_and_drop_path_are_in_the_training_loss():
    """Only `train` has the head's weighted loss; both losses have drop path."""
    search = built("darts_first", auxiliary=0.4)
    problem = search.problem
    state = jax.jit(search.init)(jax.random.key(0))
    batch = with_state(alone(batches(1)), state)

    @jax.jit
    def run(state, batch):
        out, _ = toy(SPACE, 3, auxiliary=True).apply(
            {"params": state.w, "batch_stats": state.batch_stats},
            search.mix(state),
            batch["image"],
            train=True,
        )
        entropy = lambda z: optax.softmax_cross_entropy_with_integer_labels(
            z, batch["label"]
        ).mean()
        at = state.w, state.arch, batch
        return tuple(map(entropy, out)), problem.val(*at), problem.train(*at)

    (classifier, auxiliary), val, train = run(state, batch)
    np.testing.assert_allclose(val, classifier, rtol=1e-5)
    np.testing.assert_allclose(train, classifier + 0.4 * auxiliary, rtol=1e-5)
    assert abs(auxiliary - classifier) > 1e-3
    both = built("darts_first", drop_path=0.5).problem
    run = jax.jit(lambda *at: (both.train(*at), both.val(*at)))
    later = lambda progress: batch | {"at": At(jax.random.key(0), progress)}
    at = lambda progress: np.array(run(state.w, state.arch, later(progress)))
    plain = built("darts_first").problem
    kept = jax.jit(plain.train)(state.w, state.arch, batch)
    np.testing.assert_allclose(at(0.0), kept, rtol=1e-5)
    assert (abs(at(1.0) - kept) > 1e-3).all()
