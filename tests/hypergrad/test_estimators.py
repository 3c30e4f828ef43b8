import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from support.problems import quadratic, smooth

from nasjax import hypergrad
from nasjax.engine import optim
from nasjax.hypergrad import cg, ggn, identity, implicit, neumann, unrolled

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.usefixtures("strict_dtypes")
def test_first_order_takes_w_as_independent_of_alpha():
    """L = |w|^2 . a[0] + a[1]^2 over dictionaries; the partial derivative in a."""

    def val_loss(w, arch, batch):
        mix = arch["normal"]
        return batch * (jnp.sum(jnp.square(w["p"])) * mix[0] + mix[1] ** 2)

    estimator = hypergrad.first_order(val_loss)
    w, arch = {"p": jnp.array([1.0, 2.0])}, {"normal": jnp.array([3.0, -4.0])}
    value, grad = estimator(w, arch, None, 2.0)
    np.testing.assert_allclose(value, 2 * (5 * 3 + 16))
    np.testing.assert_allclose(grad["normal"], [10.0, -16.0])
    assert estimator.name == "first_order"
    assert estimator.objective(w, arch, None, 2.0) == value


@pytest.mark.parametrize("seed", range(3))
def test_implicit_with_conjugate_gradients_is_the_analytic_hypergradient(seed):
    q = quadratic(seed)
    w = q.solve(q.a)
    found = implicit(q.train_loss, q.val_loss, cg(50, tol=1e-14))(w, q.a, None, None)
    np.testing.assert_allclose(found.grad, q.hypergradient, rtol=1e-10)
    np.testing.assert_allclose(found.value, q.val_loss(w, q.a, None))


@pytest.mark.parametrize("terms", [1, 2, 7])
def test_sgd_from_the_optimum_is_the_neumann_series(terms):
    """T steps on one fixed batch; they do not move, but their derivatives do."""
    q, lr = quadratic(0), 0.1
    w = q.solve(q.a)
    series = implicit(q.train_loss, q.val_loss, neumann(lr, terms))(w, q.a, None, None)
    batches = jnp.zeros((terms, 1)) if terms > 1 else None
    steps = unrolled(q.train_loss, q.val_loss, optax.sgd(lr), terms)
    grad = steps(w, q.a, batches, None).grad
    np.testing.assert_allclose(grad, series.grad, rtol=1e-12)
    one = implicit(q.train_loss, q.val_loss, identity(lr))(w, q.a, None, None)
    assert (terms == 1) == np.allclose(one.grad, grad, rtol=1e-12)


def composed(p, steps, lr, momentum, decay, buffer):
    """The unrolled map written out, to be differentiated by reverse over reverse."""

    def total(alpha):
        w, b = p.w, buffer
        for t in range(steps):
            batch = p.train if steps == 1 else p.train[t]
            g = jax.grad(p.loss)(w, alpha, batch)
            b = jax.tree.map(lambda b, g, w: momentum * b + g + decay * w, b, g, w)
            w = jax.tree.map(lambda w, b: w - lr * b, w, b)
        return p.loss(w, alpha, p.val)

    return jax.value_and_grad(total)(p.alpha)


@pytest.mark.parametrize("steps", [1, 2, 5, 7])
@pytest.mark.parametrize("remat", [False, True])
def test_unrolled_is_the_derivative_of_the_composed_map(steps, remat):
    """Momentum, weight decay, a live buffer, jitted."""
    p = smooth(batches=steps)
    optimizer = optim.sgd(0.3, 0.9, 0.1)
    buffer = jax.tree.map(lambda leaf: 0.1 * leaf**2, p.w)
    state = optimizer.init(p.w)
    state = (*state[:2], state[2]._replace(trace=buffer), *state[3:])
    estimator = unrolled(p.loss, p.loss, optimizer, steps, remat)
    found = jax.jit(estimator)(p.w, p.alpha, p.train, p.val, state)
    value, grad = composed(p, steps, 0.3, 0.9, 0.1, buffer)
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    np.testing.assert_allclose(found.grad, grad, rtol=1e-10)
    assert estimator.cost == 3 * steps + 1 + remat * steps


@pytest.mark.parametrize("remat", [False, True])
def test_remat_is_what_keeps_fewer_copies_of_w(remat):
    """36 steps: 36 copies of w, or about 6 + 6."""
    size = 10_000

    def loss(w, alpha, batch):
        return jnp.sum(jnp.sin(w * batch) * alpha)

    estimator = unrolled(loss, loss, optax.sgd(0.1), 36, remat)
    arguments = jnp.ones(size), jnp.ones(()), jnp.ones(36), jnp.ones(())
    plan = jax.jit(estimator).lower(*arguments).compile().memory_analysis()
    copies = plan.temp_size_in_bytes / (8 * size)
    assert (12 < copies < 25) if remat else (36 <= copies < 90), copies


@pytest.mark.parametrize("clip", [0.0, 0.3])
def test_unrolled_goes_through_clipping_and_maps_over_alpha(clip):
    p = smooth()
    optimizer = optim.sgd(0.3, 0.9, 0.1, clip)
    estimator = unrolled(p.loss, p.loss, optimizer)
    alphas = np.stack([p.alpha, -p.alpha])
    each = lambda alpha: estimator(p.w, alpha, p.train, p.val)
    found = jax.jit(jax.vmap(each))(alphas)

    def total(alpha):
        g = jax.grad(p.loss)(p.w, alpha, p.train)
        updates, _ = optimizer.update(g, optimizer.init(p.w), p.w)
        return p.loss(optax.apply_updates(p.w, updates), alpha, p.val)

    for row, alpha in enumerate(alphas):
        np.testing.assert_allclose(found.grad[row], jax.grad(total)(alpha), rtol=1e-10)
    plain = hypergrad.first_order(p.loss)(p.w, p.alpha, p.train, p.val)
    assert np.abs(found.grad[0] - plain.grad).max() > 1e-3


def three_steps(loss):
    """Three unrolled steps on the same batch, recomputed in two segments."""
    inner = unrolled(loss, loss, optim.sgd(0.1, 0.9, 0.1), 3, remat=True)

    def estimate(w, alpha, train, val, state):
        return inner.estimate(w, alpha, jnp.stack([train] * 3), val, state)

    return dataclasses.replace(inner, estimate=estimate)


def two_levels(loss):
    """w steps first, then a twin of w that is pulled towards w."""
    apart = lambda s: sum(jnp.sum(jnp.square(s["u"][k] - s["w"][k])) for k in s["w"])
    inner = hypergrad.chain(
        [
            hypergrad.descend("w", lambda s, a, x: loss(s["w"], a, x), optax.sgd(0.3)),
            hypergrad.descend("u", lambda s, a, x: apart(s), optax.sgd(0.3)),
        ],
        lambda s, a, x: loss(s["u"], a, x),
    )
    twins = lambda w, *more: inner.estimate({"w": w, "u": w}, *more)
    return dataclasses.replace(inner, estimate=twins)


def estimators(loss, over_devices=lambda x: x):
    curvature = ggn(
        lambda w, alpha, x: x @ w["a"], lambda z, x: over_devices(jnp.mean(z**2))
    )
    return {
        "first_order": hypergrad.first_order(loss),
        "unrolled": unrolled(loss, loss, optim.sgd(0.1, 0.9, 0.1)),
        "unrolled_3": three_steps(loss),
        "chain": two_levels(loss),
        "implicit_identity": implicit(loss, loss, identity(0.1)),
        "implicit_amended": implicit(loss, loss, hypergrad.amended(0.1)),
        "implicit_neumann": implicit(loss, loss, neumann(0.1, 5)),
        "implicit_cg": implicit(loss, loss, cg(5, damping=2.0)),
        "implicit_cg_ggn": implicit(loss, loss, cg(5, damping=0.1), curvature),
        "unrolled_finite_difference": hypergrad.finite_difference.unrolled(
            loss, loss, optax.sgd(0.1)
        ),
        "amended_finite_difference": hypergrad.finite_difference.amended(
            loss, loss, 0.1
        ),
    }


names = pytest.mark.parametrize("name", list(estimators(smooth().loss)))


@names
def test_names_and_single_precision(name):
    """float32 gives float32, near the float64 result; jitted."""
    p = smooth()
    estimator = estimators(p.loss)[name]
    assert estimator.name == name
    exact = jax.jit(estimator)(p.w, p.alpha, p.train, p.val).grad
    single = jax.tree.map(lambda x: np.float32(x), (p.w, p.alpha, p.train, p.val))
    found = jax.jit(estimator)(*single)
    assert found.grad.dtype == jnp.float32
    close = 0.05 if "finite" in name else 1e-4
    np.testing.assert_allclose(found.grad, exact, rtol=close, atol=close)


@names
def test_bfloat16_losses(name):
    """The loss in bfloat16, w and alpha in float32, as in mixed precision."""
    p = smooth()

    def loss(w, alpha, batch):
        half = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), (w, alpha, batch))
        return p.loss(*half)

    single = jax.tree.map(lambda x: np.float32(x), (p.w, p.alpha, p.train, p.val))
    found = jax.jit(estimators(loss)[name])(*single)
    exact = jax.jit(estimators(p.loss)[name])(p.w, p.alpha, p.train, p.val).grad
    assert found.value.dtype == jnp.bfloat16 and found.grad.dtype == jnp.float32
    if "finite" not in name:  # these lose all digits here
        assert np.abs(found.grad - exact).max() < 0.1 * np.abs(exact).max()


@names
def test_mapped_over_alpha_it_is_one_after_the_other(name):
    p = smooth()
    alphas = np.stack([p.alpha, 0.5 - p.alpha, p.alpha**2])
    each = lambda alpha: estimators(p.loss)[name](p.w, alpha, p.train, p.val).grad
    found, one = jax.jit(jax.vmap(each))(alphas), jax.jit(each)
    np.testing.assert_allclose(found, [one(alpha) for alpha in alphas], rtol=1e-7)


@names
def test_batches_split_over_devices_change_nothing(name):
    p = smooth()
    train, val = np.tile(p.train, (4, 1))[:16], np.tile(p.val, (4, 1))[:16]
    estimator = jax.jit(estimators(p.loss)[name])
    split = NamedSharding(Mesh(jax.devices(), "d"), PartitionSpec("d"))
    one = estimator(p.w, p.alpha, train, val)
    many = estimator(p.w, p.alpha, *jax.device_put((train, val), split))
    np.testing.assert_allclose(many.grad, one.grad, rtol=1e-9)


@names
def test_losses_that_average_over_devices_themselves(name):
    """Each device has its part of the batches, and the loss takes a pmean."""
    p, P = smooth(), PartitionSpec
    train, val = np.tile(p.train, (4, 1))[:16], np.tile(p.val, (4, 1))[:16]
    mean = lambda x: jax.lax.pmean(x, "d")
    parts = estimators(lambda *at: mean(p.loss(*at)), mean)[name]
    found = jax.shard_map(
        lambda train, val: parts(p.w, p.alpha, train, val).grad,
        mesh=Mesh(jax.devices(), "d"), in_specs=P("d"), out_specs=P(),
    )  # fmt: skip
    one = jax.jit(estimators(p.loss)[name])(p.w, p.alpha, train, val).grad
    np.testing.assert_allclose(jax.jit(found)(train, val), one, rtol=1e-9)


def test_estimators_take_python_scalars():
    loss = lambda w, a, x: (w * x - a) ** 2
    for estimator in (
        unrolled(loss, loss, optax.sgd(0.25)),
        unrolled(loss, loss, optax.sgd(0.25), 2),
        implicit(loss, loss, cg(1)),
        implicit(loss, loss, neumann(0.25, 3)),
    ):
        batch = jnp.ones(2) if estimator.name == "unrolled_2" else 1.0
        assert np.isfinite(estimator(1.0, 2.0, batch, 2.0).grad)


def test_an_inverse_of_the_users_own():
    """The exact inverse of a Hessian that the user happens to know."""
    q = quadratic(1)

    def solve_it(matvec, v):
        return np.linalg.inv(q.H) @ v

    estimator = implicit(q.train_loss, q.val_loss, solve_it)
    assert estimator.name == "implicit_solve_it"
    found = estimator(q.solve(q.a), q.a, None, None)
    np.testing.assert_allclose(found.grad, q.hypergradient, rtol=1e-10)
    own = implicit(q.train_loss, q.val_loss, lambda matvec, v: v)
    assert own.name == "implicit_own"


def test_losses_without_batches():
    """L = (w - a)^2 / 2 at rate r: w_T - a = (1 - r)^T (w - a)."""
    loss = lambda w, a, batch: (w - a) ** 2 / 2
    for remat in (False, True):
        estimator = unrolled(loss, lambda w, a, batch: w, optax.sgd(0.1), 5, remat)
        value, grad = estimator(1.0, 0.0, None, None)
        np.testing.assert_allclose((value, grad), (0.9**5, 1 - 0.9**5), rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 3])
def test_the_objective_can_be_differentiated_in_whatever_is_floating(steps):
    """Reverse mode, then any mode: in w, and in batches that also hold integers."""
    draws = np.random.default_rng(0)
    w, alpha, x = draws.normal(size=(3, 2))
    loss = lambda w, a, batch: jnp.sum(jnp.sin(w * batch["x"] - a) ** 2) * batch["n"]
    shape = (steps, 2) if steps > 1 else (2,)
    batch = lambda x: {"x": jnp.broadcast_to(x, shape), "n": np.full(shape[:-1], 2)}
    total = unrolled(loss, loss, optax.sgd(0.1, 0.9), steps).objective

    def plain(w, alpha, x):
        held_out, trace = {"x": x, "n": 1}, 0.0
        for _ in range(steps):
            trace = 0.9 * trace + jax.grad(loss)(w, alpha, {"x": x, "n": 2})
            w = w - 0.1 * trace
        return loss(w, alpha, held_out)

    def ours(w, alpha, x):
        return total(w, alpha, batch(x), {"x": x, "n": 1})

    at = w, alpha, x
    for derivative in (lambda f: jax.grad(f, (0, 1, 2)), lambda f: jax.hessian(f, 1)):
        found, expected = (jax.jit(derivative(f))(*at) for f in (ours, plain))
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jacfwd(ours, 1)(*at)


def test_hypergradients_can_be_differentiated_again():
    """Forward and reverse, in alpha and in an array that the losses close over."""
    p = smooth()

    def made(scale):
        loss = lambda w, alpha, x: p.loss(w, scale * alpha, x)
        return loss, unrolled(loss, loss, optax.sgd(0.3))

    def ours(scale, alpha):
        return made(scale)[1](p.w, alpha, p.train, p.val).grad

    def plain(scale, alpha):
        loss, _ = made(scale)

        def total(alpha):
            g = jax.grad(loss)(p.w, alpha, p.train)
            return loss(jax.tree.map(lambda w, g: w - 0.3 * g, p.w, g), alpha, p.val)

        return jax.grad(total)(alpha)

    for mode in (jax.jacfwd, jax.jacrev):
        for argument in (0, 1):
            at = jnp.float64(1.3), jnp.asarray(p.alpha)
            both = (jax.jit(mode(f, argument)) for f in (ours, plain))
            found, expected = (f(*at) for f in both)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
