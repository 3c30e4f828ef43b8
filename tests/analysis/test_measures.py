"""Condition numbers and weights against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from nasjax.analysis import condition_number, weight_report
from nasjax.zeroth import mgs

pytestmark = pytest.mark.usefixtures("float64")

G = np.random.default_rng(0).normal(size=10)


@pytest.fixture
def centre(float64):
    return {"normal": jnp.arange(1.0, 7).reshape(2, 3), "reduce": jnp.ones(4)}


def test_condition_of_a_linear_function(centre):
    """The ratio of a direction D is |cos(g, D)| |g| |x| / |L(x)| for every |D|."""
    linear = lambda x, g: 5 + g @ ravel_pytree(x)[0]
    key, many = jax.random.key(0), {"directions": 4000, "chunk": 500}
    found = condition_number(linear, centre, key, G, **many)
    x = np.asarray(ravel_pytree(centre)[0])
    bound = np.linalg.norm(G) * np.linalg.norm(x) / abs(5 + G @ x)
    assert found.ratios.shape == (4000,)
    assert 0.8 * bound < found.number <= bound
    np.testing.assert_allclose(found.loss, 5 + G @ x)
    # cos^2 of a random direction in d dimensions has the mean 1 / d, variance
    # 2 (d - 1) / (d^2 (d + 2)).
    error = np.sqrt(2 * 9 / (100 * 12) / 4000)
    assert abs(np.square(found.ratios / bound).mean() - 0.1) < 5 * error
    longer = condition_number(linear, centre, key, G, norm=1.0, **many)
    np.testing.assert_allclose(longer.ratios, found.ratios, rtol=1e-6)


def test_condition_of_a_quadratic(centre):
    """At the minimum of 1 + c |x - x0|^2 / 2 the ratio is c |D| |x0| / 2 for every D."""
    x = ravel_pytree(centre)[0]
    bowl = lambda at: 1 + 3.0 * jnp.sum((ravel_pytree(at)[0] - x) ** 2) / 2
    found = condition_number(bowl, centre, jax.random.key(1), norm=0.1)
    expected = 3.0 * 0.1 * float(jnp.linalg.norm(x)) / 2
    np.testing.assert_allclose(found.ratios, expected, rtol=1e-9)
    assert found.ratios.shape == (50,)


def test_weights_of_two_candidates():
    """c = softmax(-L / tau - log q); N / effective = 1 + deviation^2."""
    losses, log_q, tau = np.array([0.3, 0.1]), np.array([0.7, 0.2]), 0.5
    for weights, logits in (
        ("likelihood", -losses / tau),
        ("importance", -losses / tau - log_q),
    ):
        found = weight_report(losses, log_q, tau, weights)
        c = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(found.weights, c)
        np.testing.assert_allclose(found.effective, 1 / (c**2).sum())
        np.testing.assert_allclose(2 / found.effective, 1 + found.deviation**2)
        assert (found.loss_rank, found.log_q_rank) == (1, 1)


def test_importance_picks_the_least_likely_draw_in_many_dimensions():
    """log q of a normal proposal has standard deviation sqrt(d / 2) over the draws."""
    x, n = jnp.zeros(196), 2000
    method = mgs(n, spread=0.025, temperature=0.01)
    proposal = method.propose(method.init(x, jax.random.key(0)), x, jax.random.key(0))
    losses = 1 + 0.001 * np.random.default_rng(0).normal(size=n)
    found = weight_report(losses, proposal.aux.log_q, 0.01)
    # The variance of a variance of a nearly normal variable: 2 / n, relative.
    assert abs(found.log_q_spread**2 / 98 - 1) < 5 * np.sqrt(2 / n)
    assert found.log_q_rank == 1 and found.effective < 0.01 * n
    even = weight_report(losses, proposal.aux.log_q, 0.01, "likelihood")
    # exp of a normal variable of standard deviation 0.1: N / effective = exp(0.01).
    assert abs(even.effective / n - np.exp(-0.01)) < 0.01


def test_settings_out_of_range(centre):
    with pytest.raises(ValueError, match="directions is 0; expected a positive"):
        condition_number(lambda x: 1.0, centre, jax.random.key(0), directions=0)
    with pytest.raises(ValueError, match="is 0, and the condition number divides"):
        zero = lambda x: 0 * x["reduce"].sum()
        condition_number(zero, centre, jax.random.key(0), directions=2)
    with pytest.raises(ValueError, match="expected 'importance' or 'likelihood'"):
        weight_report(jnp.zeros(2), jnp.zeros(2), 1.0, "like")
