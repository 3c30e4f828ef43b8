import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from support.problems import quadratic, smooth

from nasjax.hypergrad import (
    amended,
    finite_difference,
    first_order,
    ggn,
    hvp,
    implicit,
    mixed_vjp,
    unrolled,
)

pytestmark = pytest.mark.usefixtures("float64")


def test_products_are_those_with_the_whole_matrices():
    p = smooth()
    flat, restore = ravel_pytree(p.w)
    v = np.random.default_rng(1).normal(size=flat.size)
    of_flat = lambda w, alpha: p.loss(restore(w), alpha, p.train)
    hessian = jax.jit(jax.hessian(of_flat))(flat, p.alpha)
    mixed = jax.jit(jax.jacobian(jax.grad(of_flat, 1)))(flat, p.alpha)
    found = hvp(p.loss, p.w, p.alpha, p.train, restore(v))
    np.testing.assert_allclose(ravel_pytree(found)[0], hessian @ v, rtol=1e-10)
    found = mixed_vjp(p.loss, p.w, p.alpha, p.train, restore(v))
    np.testing.assert_allclose(found, mixed @ v, rtol=1e-10)


def test_gauss_newton_is_the_matrix_and_positive_where_the_hessian_is_not():
    draws = np.random.default_rng(0)
    x, label = draws.normal(size=(7, 4)), draws.integers(0, 3, 7)
    w = {"a": draws.normal(size=(4, 5)), "b": draws.normal(size=(5, 3))}
    flat, restore = ravel_pytree(w)

    def outputs(w, alpha, x):
        return jnp.tanh(x @ w["a"] * alpha) @ w["b"]

    def of_outputs(z, x):
        return optax.softmax_cross_entropy_with_integer_labels(z, label).mean()

    loss = lambda w, alpha, x: of_outputs(outputs(w, alpha, x), x)
    of_flat = lambda f: outputs(restore(f), 2.0, x).ravel()
    jacobian = jax.jit(jax.jacobian(of_flat))(flat)
    of_z = lambda z: of_outputs(z.reshape(7, 3), x)
    inner = jax.jit(jax.hessian(of_z))(of_flat(flat))
    product = ggn(outputs, of_outputs)
    column = lambda v: ravel_pytree(product(loss, w, 2.0, x, restore(v)))[0]
    found = jax.jit(jax.vmap(column))(jnp.eye(flat.size))
    np.testing.assert_allclose(found, jacobian.T @ inner @ jacobian, atol=1e-12)
    assert np.linalg.eigvalsh(found).min() > -1e-12
    hessian = jax.jit(jax.hessian(lambda f: loss(restore(f), 2.0, x)))(flat)
    assert np.linalg.eigvalsh(hessian).min() < -1e-3


def test_darts_finite_difference_is_the_papers_formula():
    """Eq. 8 with xi = 0.3: v at w', differences at w + r v and w - r v, r = 0.01/|v|."""
    p, xi = smooth(), 0.3
    step = lambda w, g, c: jax.tree.map(lambda w, g: w + c * g, w, g)
    after = step(p.w, jax.grad(p.loss)(p.w, p.alpha, p.train), -xi)
    v, direct = jax.grad(p.loss, (0, 1))(after, p.alpha, p.val)
    r = 0.01 / np.linalg.norm(ravel_pytree(v)[0])
    of_arch = lambda w: jax.grad(p.loss, 1)(w, p.alpha, p.train)
    implicit_term = (of_arch(step(p.w, v, r)) - of_arch(step(p.w, v, -r))) / (2 * r)
    estimator = finite_difference.unrolled(p.loss, p.loss, optax.sgd(xi))
    found = estimator(p.w, p.alpha, p.train, p.val)
    np.testing.assert_allclose(found.grad, direct - xi * implicit_term, rtol=1e-10)


def test_products_by_finite_differences_are_exact_on_quadratics():
    """At w = 0 with epsilon = 1 nothing cancels: Hv and -M'v."""
    q, v = quadratic(4), np.random.default_rng(0).normal(size=6)
    at = q.train_loss, np.zeros(6), q.a, None, v, 1.0
    np.testing.assert_allclose(finite_difference.hvp(*at), q.H @ v, rtol=1e-12)
    np.testing.assert_allclose(finite_difference.mixed_vjp(*at), -q.M.T @ v, rtol=1e-12)


def test_amended_finite_differences_are_exact_on_quadratics():
    q, w = quadratic(4), np.random.default_rng(0).normal(size=6)  # not at the optimum
    exact = implicit(q.train_loss, q.val_loss, amended(0.1))(w, q.a, None, None)
    twin = finite_difference.amended(q.train_loss, q.val_loss, 0.1)
    np.testing.assert_allclose(twin(w, q.a, None, None).grad, exact.grad, rtol=1e-9)
    by_hand = q.E @ q.a + 0.1 * q.M.T @ q.H @ q.D @ (w - q.t)
    np.testing.assert_allclose(exact.grad, by_hand, rtol=1e-12)


@pytest.mark.parametrize("which", ["unrolled", "amended"])
def test_finite_differences_approach_the_exact_product_at_second_order(which):
    """Ten times the distance, a hundred times the error; in float32 nothing is left."""
    p = smooth()
    make = {
        "unrolled": lambda e: finite_difference.unrolled(
            p.loss, p.loss, optax.sgd(0.3), e
        ),
        "amended": lambda e: finite_difference.amended(p.loss, p.loss, 0.1, e),
    }[which]
    exact = {
        "unrolled": unrolled(p.loss, p.loss, optax.sgd(0.3)),
        "amended": implicit(p.loss, p.loss, amended(0.1)),
    }[which](p.w, p.alpha, p.train, p.val)

    def error(epsilon, dtype):
        at = jax.tree.map(
            lambda x: np.asarray(x, dtype), (p.w, p.alpha, p.train, p.val)
        )
        return np.linalg.norm(make(epsilon)(*at).grad - exact.grad)

    errors = [error(e, np.float64) for e in (1e-1, 1e-2, 1e-3)]
    np.testing.assert_allclose(
        np.log10(errors[:-1]) - np.log10(errors[1:]), 2, atol=0.2
    )
    size = np.linalg.norm(
        exact.grad - first_order(p.loss)(p.w, p.alpha, None, p.val).grad
    )
    assert error(1e-6, np.float32) > 0.01 * size > 100 * error(1e-6, np.float64)


@pytest.mark.parametrize("which", ["unrolled", "amended"])
def test_finite_differences_of_a_loss_at_its_minimum_are_zero_and_not_nan(which):
    loss = lambda w, a, x: jnp.sum(w**2) + jnp.sum(a * w)
    flat = lambda w, a, x: jnp.sum(a**2)  # does not depend on w: |v| = 0
    estimator = {
        "unrolled": finite_difference.unrolled(loss, flat, optax.sgd(0.1)),
        "amended": finite_difference.amended(loss, flat, 0.1),
    }[which]
    found = estimator(jnp.ones(2), jnp.ones(2), None, None)
    np.testing.assert_array_equal(found.grad, [2.0, 2.0])


def toy(w, a, x):
    return (w * x - a) ** 2


def test_the_toy_of_amended_darts_by_hand():
    """A.2, x_train = 1, x_val = 2, at w = a: g1 = -2a, g2 = 4a; amended 16 eta a."""
    a = 3.0
    total = lambda estimator: float(estimator(a, a, 1.0, 2.0).grad)
    np.testing.assert_allclose(total(first_order(toy)), -2 * a)
    for eta in (0.1, 0.25):
        np.testing.assert_allclose(
            total(implicit(toy, toy, amended(eta))), (16 * eta - 2) * a
        )
        np.testing.assert_allclose(
            total(finite_difference.amended(toy, toy, eta)), (16 * eta - 2) * a
        )
    xi = 0.1  # DARTS' second order: 2 xi v, v at w' = w - xi g, here w
    np.testing.assert_allclose(
        total(unrolled(toy, toy, optax.sgd(xi))), -2 * a + 8 * xi * a
    )


@pytest.mark.parametrize(
    "eta, low, high", [(None, 1e18, 3e18), (0.1, 3e5, 5e5), (0.25, 5e-15, 2e-14)]
)
def test_the_toy_converges_for_eta_a_quarter_only(eta, low, high):
    """400 joint steps of rates 0.1 (w) and 0.05 (a) from a = 1, w = 0.3."""
    estimator = first_order(toy) if eta is None else implicit(toy, toy, amended(eta))

    def step(carry, _):
        w, a = carry
        move = estimator(w, a, 1.0, 2.0).grad
        return (w - 0.1 * jax.grad(toy)(w, a, 1.0), a - 0.05 * move), None

    (w, a), _ = jax.lax.scan(step, (jnp.float64(0.3), jnp.float64(1.0)), length=400)
    assert low < toy(w, a, 2.0) < high


def test_the_toy_of_darts_by_hand():
    """L_val = a w - 2 a + 1, L_train = w^2 - 2 a w + a^2; at a = 2, w = -2, xi:
    w' = w - xi (2 w - 2 a), and the total is (w' - 2) + a . 2 xi."""
    xi = 0.1
    train = lambda w, a, x: w**2 - 2 * a * w + a**2
    val = lambda w, a, x: a * w - 2 * a + 1
    value, grad = unrolled(train, val, optax.sgd(xi))(-2.0, 2.0, None, None)
    after = -2 - xi * (2 * -2 - 2 * 2)
    np.testing.assert_allclose(value, 2 * after - 4 + 1)
    np.testing.assert_allclose(grad, after - 2 + 2 * 2 * xi)
    exact = implicit(train, val, lambda matvec, v: v / 2)  # H = 2
    np.testing.assert_allclose(exact(2.0, 2.0, None, None).grad, 2 - 2 + 2)
