"""Sentences about the inverse of `implicit`, on quadratics of known eigenvalues."""

import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.hypergrad import (
    amended,
    cg,
    check,
    ggn,
    hvp,
    identity,
    implicit,
    neumann,
)

WIDE = np.geomspace(1, 1e6, 8)
FLAT = np.array([1.0, 2.0, 3.0])
SADDLE = np.array([1.0, -1.0, 2.0])


def checked(eigenvalues, inverse, curvature=hvp):
    d = jnp.asarray(eigenvalues)
    a = jnp.linspace(1, 2, len(d))
    solve = lambda w, a, batch: a / d
    estimator = implicit(
        lambda w, a, batch: jnp.sum(d * w**2) / 2 - a @ w,
        lambda w, a, batch: jnp.sum((w - 1) ** 2) / 2,
        inverse,
        curvature,
    )
    at = solve(None, a, None), a, None, None
    return check(
        estimator, *at, solve=solve, steps=(1e-2, 1e-3), directions=1
    ), estimator(*at)


CASES = {
    "few steps": (WIDE, cg(2), ["cg has not converged", "after 2 steps", "max_steps"]),
    "a loose tolerance": (WIDE, cg(99, tol=0.5), ["not converged", "lower tol"]),
    "few terms": (WIDE[:3], neumann(1e-4, 5), ["not converged", "after 5 terms"]),
    "a rate too large": (FLAT, neumann(1.0, 60), ["diverges", "lower lr"]),
    "an overflow": (FLAT, neumann(1e3, 2000), ["diverges", "inf", "lower lr"]),
    "a saddle": (SADDLE, cg(5), ["negative or zero curvature", "raise the damping"]),
    "a series at a saddle": (SADDLE, neumann(0.1, 90), ["negative curvature", "ggn"]),
    "a damping": (FLAT, cg(5, damping=10.0), ["damping of 10 changes the answer"]),
    "identity": (FLAT, identity(0.1), ["identity takes lr v for H^-1 v"]),
    "amended": (FLAT, amended(0.1), ["amended takes eta H v for H^-1 v"]),
    "an own inverse": (FLAT, lambda matvec, v: 9 * v, ["has not solved H x = v"]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_inverse_is_judged_in_words(case, float64):
    eigenvalues, inverse, words = CASES[case]
    report, _ = checked(eigenvalues, inverse)
    text = " ".join(report.remarks)
    assert not report.agrees
    assert all(word in text for word in words), text
    assert "stop_gradient" not in text
    assert len(set(report.remarks)) == len(report.remarks)


def test_another_curvature_is_named(float64):
    half = ggn(lambda w, a, batch: w, lambda z, batch: jnp.sum(z**2) / 4)
    report, _ = checked(FLAT, cg(5), half)
    assert "The curvature is not the Hessian" in " ".join(report.remarks)


def test_what_converged_is_not_mentioned(float64):
    for inverse in (cg(5), neumann(0.3, 500)):
        report, found = checked(FLAT, inverse)
        assert report.agrees and not report.remarks
        assert not found.report.get("neumann_last", 0) > 1


@pytest.mark.parametrize("terms", [60, 500, 5000])
def test_the_last_term_of_a_diverging_series_is_a_number_above_1(terms):
    _, found = checked(FLAT, neumann(10.0, terms))
    assert found.report["neumann_last"] > 1


def test_a_tiny_gradient_is_solved_like_a_large_one():
    """In single precision the squares of 1e-30 are 0."""
    x, report = cg(5).solve(lambda v: 2.0 * v, jnp.full(3, 1e-30))
    np.testing.assert_allclose(x, 5e-31, rtol=1e-6)
    assert report["cg_steps"] == 1
