import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.problems import quadratic

from nasjax.hypergrad import amended, cg, identity, neumann

pytestmark = pytest.mark.usefixtures("float64")


@pytest.mark.parametrize("terms", [1, 2, 5, 40])
def test_neumann_converges_at_the_predicted_rate(terms):
    """x_k = (I - (I - lr H)^k) H^-1 v, to the last digit."""
    q, lr = quadratic(2), 0.2
    solution = np.linalg.solve(q.H, q.slope)
    left = np.linalg.matrix_power(np.eye(6) - lr * q.H, terms) @ solution
    found, report = neumann(lr, terms).solve(lambda v: q.H @ v, q.slope)
    np.testing.assert_allclose(found, solution - left, rtol=1e-12)
    last = np.linalg.matrix_power(np.eye(6) - lr * q.H, terms - 1) @ q.slope
    expected = np.linalg.norm(last) / np.linalg.norm(q.slope)
    np.testing.assert_allclose(report["neumann_last"], expected, rtol=1e-9)


def test_neumann_says_when_it_diverges():
    report = neumann(1.0, 30).solve(lambda v: 3.0 * v, jnp.ones(2))[1]
    np.testing.assert_allclose(report["neumann_last"], 2.0**29)


def test_conjugate_gradients_solve_in_as_many_steps_as_there_are_eigenvalues():
    matrix = np.diag([1.0, 1.0, 5.0, 5.0, 9.0])
    x, report = cg(50, tol=1e-12).solve(lambda v: matrix @ v, jnp.ones(5))
    assert report["cg_steps"] == 3
    np.testing.assert_allclose(x, 1 / np.diag(matrix), rtol=1e-12)


@pytest.mark.parametrize("damping", [0.0, 0.5])
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_conjugate_gradients_stop_at_the_relative_residual(damping, steps):
    """The iterate after k steps minimises the quadratic over the Krylov space."""
    q = quadratic(3)
    H = q.H + damping * np.eye(6)
    basis = np.stack([np.linalg.matrix_power(H, i) @ q.slope for i in range(steps)], 1)
    best = basis @ np.linalg.solve(basis.T @ H @ basis, basis.T @ q.slope)
    x, report = cg(steps, damping).solve(lambda v: q.H @ v, q.slope)
    np.testing.assert_allclose(x, best, rtol=1e-9)
    residual = np.linalg.norm(q.slope - H @ best) / np.linalg.norm(q.slope)
    np.testing.assert_allclose(report["cg_residual"], residual, rtol=1e-8)
    # A tolerance just above that residual stops at the same iterate.
    again, report = cg(99, damping, 1.01 * residual).solve(lambda v: q.H @ v, q.slope)
    assert report["cg_steps"] == steps and not report["cg_negative_curvature"]
    np.testing.assert_allclose(again, best, rtol=1e-9)


def test_conjugate_gradients_stop_at_negative_curvature_with_the_last_good_iterate():
    matrix, v = np.diag([4.0, 2.0, -1.0]), np.array([1.0, 1.0, 0.2])
    first = v * (v @ v) / (v @ matrix @ v)  # curvature along v is positive
    x, report = cg(10).solve(lambda u: matrix @ u, v)
    assert report["cg_negative_curvature"] and report["cg_steps"] >= 1
    if report["cg_steps"] == 1:
        np.testing.assert_allclose(x, first, rtol=1e-12)
    x, report = cg(10).solve(lambda u: -u, v)
    assert report["cg_negative_curvature"] and report["cg_steps"] == 0
    np.testing.assert_array_equal(x, np.zeros(3))
    damped, report = cg(10, damping=2.0, tol=1e-12).solve(lambda u: matrix @ u, v)
    assert not report["cg_negative_curvature"]
    np.testing.assert_allclose(damped, v / (np.diag(matrix) + 2), rtol=1e-10)


@pytest.mark.parametrize("v", [np.zeros(3), np.array([1.0, 0.0, 0.0]), np.ones(3)])
def test_reaching_the_exact_solution_early_gives_no_nan(v):
    solve = lambda v: cg(20, tol=0.0).solve(lambda u: 2.0 * u, v)
    x, report = jax.jit(solve)(v)
    np.testing.assert_allclose(x, v / 2)
    assert all(np.isfinite(leaf) for leaf in report.values())
    assert report["cg_residual"] == 0 and not report["cg_negative_curvature"]


def test_lanes_of_a_vmap_stop_each_for_itself():
    scales = np.array([1.0, -1.0, 0.0])
    solve = lambda s, v: cg(5).solve(lambda u: s * u, v)
    x, report = jax.vmap(solve)(scales, np.ones((3, 2)))
    np.testing.assert_allclose(x, [[1, 1], [0, 0], [0, 0]])
    assert report["cg_negative_curvature"].tolist() == [False, True, True]


def test_the_inner_product_claim_holds_where_matrices_commute_and_not_in_general():
    """Amended-DARTS A.3 claims <g2', g2> >= 0: with g2 = -B' H^-1 v, g2' = -eta B' H v.

    H = diag(1, 10), B = (1, 1)', v = (1, -0.5) gives -3.8 eta.
    """
    eta, H, B = 0.1, np.diag([1.0, 10.0]), np.ones((2, 1))
    v = np.array([1.0, -0.5])
    amending = B.T @ amended(eta)(lambda u: H @ u, v)
    exact = B.T @ cg(5, tol=1e-14)(lambda u: H @ u, v)
    np.testing.assert_allclose(amending @ exact, -3.8 * eta, rtol=1e-12)
    draws = np.random.default_rng(0)
    for _ in range(20):
        roots, _ = np.linalg.qr(draws.normal(size=(4, 4)))
        H = roots @ np.diag(draws.uniform(0.1, 5, 4)) @ roots.T
        B = roots @ np.diag(draws.normal(size=4)) @ roots.T  # the same eigenvectors
        v = draws.normal(size=4)
        amending = B.T @ amended(eta)(lambda u, H=H: H @ u, v)
        assert amending @ (B.T @ np.linalg.solve(H, v)) >= 0


def test_names_and_costs():
    inverses = identity(0.1), amended(0.1), neumann(0.1, 5), cg(7)
    assert [i.name for i in inverses] == ["identity", "amended", "neumann", "cg"]
    assert [i.products for i in inverses] == [0, 1, 4, 7]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: neumann(0.1, 0), "terms is 0; expected a positive integer"),
        (lambda: neumann(0.0, 3), "lr is 0.0; expected a number above 0"),
        (lambda: cg(2.5), "max_steps is 2.5; expected a positive integer"),
        (lambda: cg(3, damping=-1.0), "damping is -1.0; expected a number at least 0"),
        (lambda: cg(3, tol=-1.0), "tol is -1.0"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()
