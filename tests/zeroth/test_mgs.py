"""MGS against closed forms, in float64. Tolerances are 5 standard errors, by formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.zeroth import importance_weights, mgs

pytestmark = pytest.mark.usefixtures("float64", "strict_dtypes")

SIGMAS = 5
N = 100_000


def one_update(method, x, loss, guide=None, seed=0):
    state = method.init(x, jax.random.key(0))
    proposal = method.propose(state, x, jax.random.key(seed), guide)
    losses = jax.vmap(loss)(proposal.candidates)
    new, state, metrics = method.update(state, x, proposal, losses)
    return jax.tree.map(jnp.subtract, new, x), proposal, metrics


def uniform_in_ball(dimensions, radius, pairs):
    """Draws, each with its negative: odd moments vanish exactly."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=(pairs, dimensions))
    sphere = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    u = radius * sphere * rng.random((pairs, 1)) ** (1 / dimensions)
    return np.concatenate([u, -u])


def weighted_mean(u, g, temperature):
    losses = 3.0 + u @ g  # linear; the constant must cancel
    c = importance_weights(jnp.asarray(losses), jnp.full(len(u), -7.0), temperature)
    c = np.asarray(c)
    # Delta method over independent pairs: the standard error of a ratio of means.
    influence = c[:, None] * (u - c @ u)
    half = len(u) // 2
    error = np.sqrt(np.square(influence[:half] + influence[half:]).sum(0))
    return c @ u, error


@pytest.mark.parametrize("dimensions", [2, 6])
def test_uniform_proposal_gives_a_step_down_the_gradient(dimensions):
    """u* -> -(e^2 / ((d + 2) tau)) g for small e |g| / tau."""
    radius, temperature = 0.3, 0.5
    g = np.random.default_rng(1).normal(size=dimensions)
    g *= 0.05 * temperature / radius / np.linalg.norm(g)  # e |g| / tau = 0.05
    step, error = weighted_mean(uniform_in_ball(dimensions, radius, N), g, temperature)
    expected = -(radius**2) / ((dimensions + 2) * temperature) * g
    # The next term of the series is smaller by (e |g| / tau)^2 / ((d + 2)(d + 4)).
    bias = 0.05**2 * np.abs(expected)
    assert (np.abs(step - expected) <= SIGMAS * error + bias).all()
    assert (SIGMAS * error < 0.05 * np.linalg.norm(expected)).all(), "no test at all"


def test_uniform_proposal_far_from_the_linear_limit():
    """The mean under exp(-k u_1) on the unit ball in 3 dimensions is elementary."""
    k = 2.5
    step, error = weighted_mean(uniform_in_ball(3, 1.0, N), np.array([k, 0, 0]), 1.0)
    mean = 3 / k - k * np.sinh(k) / (k * np.cosh(k) - np.sinh(k))
    assert (np.abs(step - [mean, 0, 0]) <= SIGMAS * error).all()
    assert abs(mean) > 0.3 > 20 * error.max()


def linear(x):
    g = {"a": jnp.array([[0.2, -0.1], [0.0, 0.3]]), "b": jnp.array([-0.25])}
    return sum(jnp.vdot(g[k], x[k]) for k in g)


X = {"a": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([5.0])}
G = np.array([0.2, -0.1, 0.0, 0.3, -0.25])


def flat(tree):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("guided", [False, True])
def test_likelihood_weights_on_a_linear_loss(guided):
    """u ~ N(m, s^2 I): u* -> m - (s^2 / tau) g, the mean of the tilted Gaussian."""
    s, temperature = 0.4, 0.2
    guide = jax.tree.map(lambda x: 0.1 * jnp.asarray(x), X) if guided else None
    mean = -0.1 * flat(X) if guided else np.zeros(5)
    method = mgs(N, s, temperature, weights="likelihood")
    step, _, _ = one_update(method, jax.tree.map(jnp.asarray, X), linear, guide)
    expected = mean - s**2 / temperature * G
    # With w = exp(-g.u / tau) and a = s |g| / tau, E[w^2 (u - u*)_i^2] / E[w]^2 is
    # exp(a^2) (s^2 + (s^2 g_i / tau)^2): the tilt by w^2 moves the mean twice as far.
    a = s * np.linalg.norm(G) / temperature
    error = np.exp(a**2 / 2) * np.sqrt((s**2 + (s**2 * G / temperature) ** 2) / N)
    assert (np.abs(flat(step) - expected) <= SIGMAS * error).all()
    assert SIGMAS * error.max() < 0.1 * np.linalg.norm(expected - mean), "no test"


def test_proposition_1_the_step_is_parallel_to_the_negative_gradient():
    """Linear loss; proposal centred at 0, or guided by the gradient itself."""
    for guide in (None, jax.grad(linear)(jax.tree.map(jnp.asarray, X))):
        method = mgs(N, 0.1, 0.05, weights="likelihood")
        step, _, _ = one_update(method, jax.tree.map(jnp.asarray, X), linear, guide)
        unit = -G / np.linalg.norm(G)
        along = flat(step) @ unit
        across = np.linalg.norm(flat(step) - along * unit)
        a = 0.1 * np.linalg.norm(G) / 0.05
        # Across g every coordinate has variance s^2 under the tilt: see above. The
        # squared length over 4 of them is chi-square: 4 on average, below 32 in truth.
        assert across <= np.sqrt(32 * 0.1**2 * np.exp(a**2) / N)
        assert along > 20 * across


MU, V = np.array([0.3, -0.2, 0.1]), 0.2  # the target p: N(MU, V I)


def quadratic(x):  # with tau = 0.5: exp(-L / tau) is the target, seen from x = 1
    return 0.5 * jnp.sum(jnp.square(x - 1.0 - MU)) / (2 * V)


def importance_error(mean, s):
    """Standard error of self-normalised importance sampling of N(MU, V I).

    p^2 / q is a Gaussian of variance v2 = 1 / (2 / V - 1 / s^2) and mean m2, times a
    constant; the variance is that constant times E[(u - MU)^2] under it.
    """
    v2 = 1 / (2 / V - 1 / s**2)
    m2 = v2 * (2 * MU / V - mean / s**2)
    exponent = (m2**2 / v2 - 2 * MU**2 / V + mean**2 / s**2) / 2
    constant = np.prod(s * np.sqrt(v2) / V * np.exp(exponent))
    return np.sqrt(constant * (v2 + (m2 - MU) ** 2) / N)


@pytest.mark.parametrize(
    ("s", "mixture", "guide", "proposal"),
    [
        (0.5, 0.0, [0.0, 0.0, 0.0], "mixture"),
        (0.8, 0.0, [0.2, 0.3, -0.1], "mixture"),
        (0.6, 0.4, [0.5, 0.0, -0.5], "mixture"),
        (0.6, 1.0, [0.5, 0.0, -0.5], "mixture"),
        (0.8, 0.4, [0.5, 0.0, -0.5], "sum"),
    ],
)
def test_importance_weights_are_consistent(s, mixture, guide, proposal):
    """For any Gaussian proposal, u* -> the mean of p(u) ~ exp(-L / tau)."""
    method = mgs(N, s, 0.5, mixture, proposal=proposal)
    step, _, metrics = one_update(method, jnp.ones(3), quadratic, jnp.array(guide))
    # A mixture is at least each of its parts times its share, so its variance is at
    # most the part's over the share.
    parts = [(1 - mixture, -np.array(guide)), (mixture, np.zeros(3))]
    if proposal == "sum":
        s = s * np.hypot(1 - mixture, mixture)
        parts = [(1.0, -(1 - mixture) * np.array(guide))]
    errors = [importance_error(m, s) / np.sqrt(lam) for lam, m in parts if lam > 0]
    error = np.min(errors, axis=0)
    assert (np.abs(np.asarray(step) - MU) <= SIGMAS * error).all()
    assert SIGMAS * error.max() < 0.1, "no test at all"
    assert 1 < metrics["effective_samples"] < N


def test_likelihood_weights_keep_the_proposal_in():
    """Without 1 / q the target is p q: a product of Gaussians, by precisions."""
    s, guide = 0.5, np.array([0.4, -0.4, 0.2])
    method = mgs(N, s, 0.5, weights="likelihood")
    step, _, _ = one_update(method, jnp.ones(3), quadratic, jnp.asarray(guide))
    expected = (-guide / s**2 + MU / V) / (1 / s**2 + 1 / V)
    # Bounded weights p / max p: the variance is at most s^2 + (m - u*)^2, over the
    # squared mean weight, prod sqrt(V / (V + s^2)) exp(-(MU - m)^2 / (2 (V + s^2))).
    total = V + s**2
    weight = np.prod(np.sqrt(V / total) * np.exp(-((MU + guide) ** 2) / (2 * total)))
    error = np.sqrt((s**2 + (guide + expected) ** 2) / N) / weight
    assert (np.abs(np.asarray(step) - expected) <= SIGMAS * error).all()
    assert SIGMAS * error.max() < 0.5 * np.abs(expected - MU).max(), "no test at all"


@pytest.mark.parametrize("mixture", [0.0, 0.25, 1.0])
def test_the_log_density_is_that_of_the_mixture(mixture):
    s, guide = 0.7, np.array([2.0, -3.0])
    method = mgs(4000, s, 1.0, mixture)
    x = jnp.array([10.0, 20.0])
    proposal = method.propose(
        method.init(x, None), x, jax.random.key(3), jnp.array(guide)
    )
    u, log_q = np.asarray(proposal.aux.directions), np.asarray(proposal.aux.log_q)
    np.testing.assert_allclose(proposal.candidates, np.asarray(x) + u)
    near, far = (np.square(u + m).sum(1) / (2 * s**2) for m in (guide, 0 * guide))
    by_hand = np.log((1 - mixture) * np.exp(-near) + mixture * np.exp(-far))
    np.testing.assert_allclose(log_q - log_q[0], by_hand - by_hand[0], atol=1e-9)
    # The draws have this density: share and moments of the components.
    middle = np.linalg.norm(guide) / 2
    at_zero = u @ guide / np.linalg.norm(guide) > -middle  # wrong beyond 2.57 s: 0.5 %
    share = at_zero.mean()
    assert abs(share - mixture) <= 0.006 + SIGMAS * np.sqrt(0.25 / 4000)
    mean = -(1 - mixture) * guide
    variance = s**2 + mixture * (1 - mixture) * guide**2
    assert (np.abs(u.mean(0) - mean) <= SIGMAS * np.sqrt(variance / 4000)).all()


@pytest.mark.parametrize("mixture", [0.0, 0.25, 1.0])
def test_the_sum_is_one_gaussian_with_its_density(mixture):
    """(1 - lam) N(-g, s^2) + lam N(0, s^2): mean and variance add up."""
    s, guide, n = 0.7, np.array([2.0, -3.0]), 4000
    method = mgs(n, s, 1.0, mixture, proposal="sum")
    x = jnp.array([10.0, 20.0])
    proposal = method.propose(
        method.init(x, None), x, jax.random.key(3), jnp.array(guide)
    )
    u, log_q = np.asarray(proposal.aux.directions), np.asarray(proposal.aux.log_q)
    mean = -(1 - mixture) * guide
    variance = (1 - mixture) ** 2 * s**2 + mixture**2 * s**2
    assert (np.abs(u.mean(0) - mean) <= SIGMAS * np.sqrt(variance / n)).all()
    assert (np.abs(u.var(0) / variance - 1) <= SIGMAS * np.sqrt(2 / n)).all()
    by_hand = -np.square(u - mean).sum(1) / (2 * variance)
    np.testing.assert_allclose(log_q - log_q[0], by_hand - by_hand[0], atol=1e-9)


def test_likelihood_weights_with_the_sum_on_a_linear_loss():
    """u ~ N((1 - lam) m, v I): u* -> (1 - lam) m - (v / tau) g."""
    s, lam, temperature = 0.5, 0.3, 0.2
    method = mgs(N, s, temperature, lam, "likelihood", guide_scale=0.1, proposal="sum")
    x = jax.tree.map(jnp.asarray, X)
    step, _, _ = one_update(method, x, linear, x)
    v = ((1 - lam) ** 2 + lam**2) * s**2
    expected = -(1 - lam) * 0.1 * flat(X) - v / temperature * G
    a = np.sqrt(v) * np.linalg.norm(G) / temperature
    error = np.exp(a**2 / 2) * np.sqrt((v + (v * G / temperature) ** 2) / N)
    assert (np.abs(flat(step) - expected) <= SIGMAS * error).all()
    assert SIGMAS * error.max() < 0.1 * np.linalg.norm(v / temperature * G), "no test"


@pytest.mark.parametrize("proposal", ["mixture", "sum"])
def test_the_guide_s_scale_may_be_a_schedule_of_the_updates_so_far(proposal):
    x, guide = jnp.zeros(2), jnp.array([2.0, -3.0])
    half = lambda updates: 0.5 * 0.5 ** updates.astype(float)
    method = mgs(1, 1e-8, 1.0, guide_scale=half, proposal=proposal)
    state = method.init(x, None)
    for expected in (0.5, 0.25):
        rows = method.propose(state, x, jax.random.key(0), guide)
        np.testing.assert_allclose(rows.candidates[0], -expected * guide, atol=1e-6)
        _, state, _ = method.update(state, x, rows, jnp.zeros(1))


def test_the_log_density_is_exact_where_the_spread_is_far_below_the_guide():
    """Computed from u it would be lost to rounding: float32 at s = 1e-8."""
    x = jnp.zeros(5, jnp.float32)
    method = mgs(100, 1e-8, 1.0)
    log_q = method.propose(method.init(x, None), x, jax.random.key(0), x + 1).aux.log_q
    assert abs(float(log_q.mean()) + 5 / 2) < SIGMAS * np.sqrt(5 / 2 / 100)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("weights", ["importance", "likelihood"])
def test_a_broken_guide_does_not_move_x_even_where_losses_are_finite(weights, broken):
    x = jnp.zeros(2)
    method = mgs(4, 0.1, 1.0, weights=weights)
    state = method.init(x, None)
    guide = jnp.array([broken, 0.0])
    proposal = method.propose(state, x, jax.random.key(0), guide)
    new, _, metrics = method.update(state, x, proposal, jnp.arange(4.0))
    np.testing.assert_array_equal(new, x)
    assert int(metrics["left_out"]) == 4


def test_the_log_density_does_not_underflow_in_many_dimensions():
    x = jnp.zeros(196, jnp.float32)
    method = mgs(4, 0.025, 0.01, 1e-3)
    proposal = method.propose(method.init(x, None), x, jax.random.key(0), x + 1)
    assert np.isfinite(proposal.aux.log_q).all()
    assert np.ptp(proposal.aux.log_q) > 0
    assert proposal.candidates.dtype == jnp.float32


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("weights", ["importance", "likelihood"])
def test_candidates_without_a_finite_loss_are_left_out(broken, weights):
    """The step is the one that the finite candidates alone would have made."""
    x = {"a": jnp.array([1.0, -1.0])}
    method = mgs(6, 0.3, 0.7, 0.2, weights)
    state = method.init(x, None)
    proposal = method.propose(state, x, jax.random.key(5))
    losses = jnp.array([0.3, broken, 0.1, 0.9, broken, 0.2])
    new, state, metrics = method.update(state, x, proposal, losses)
    kept = [0, 2, 3, 5]
    u, log_q = (np.asarray(leaf)[kept] for leaf in proposal.aux)
    log_q = log_q if weights == "importance" else 0 * log_q
    c = np.exp(-np.asarray(losses)[kept] / 0.7 - log_q)
    expected = np.asarray(x["a"]) + c @ u / c.sum()
    np.testing.assert_allclose(new["a"], expected, rtol=1e-12)
    assert int(metrics["left_out"]) == 2
    np.testing.assert_allclose(metrics["candidate_loss"], 0.375)
    effective = c.sum() ** 2 / np.square(c).sum()
    np.testing.assert_allclose(metrics["effective_samples"], effective)
    assert all(np.isfinite(value) for value in metrics.values())


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_x_stays_where_it_is_if_no_loss_is_finite(broken):
    x = {"a": jnp.array([1.0, -1.0])}
    method = mgs(3, 0.3, 0.7)
    state = method.init(x, None)
    proposal = method.propose(state, x, jax.random.key(5), x)
    new, state, metrics = method.update(state, x, proposal, jnp.full(3, broken))
    np.testing.assert_array_equal(new["a"], x["a"])
    assert int(state.updates) == 1
    assert int(metrics["left_out"]) == 3
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_broken_draw_cannot_poison_the_step():
    """The direction of a draw may be infinite: 0 times infinity is nan."""
    x = jnp.zeros(2)
    method = mgs(2, 0.1, 1.0)
    proposal = method.propose(method.init(x, None), x, jax.random.key(0))
    u = proposal.aux.directions.at[1].set(jnp.inf)
    proposal = proposal._replace(aux=proposal.aux._replace(directions=u))
    new, _, _ = method.update(
        method.init(x, None), x, proposal, jnp.array([1.0, jnp.nan])
    )
    np.testing.assert_array_equal(new, u[0])


def test_losses_of_any_size_do_not_overflow():
    """Only differences of the losses count: L(x) cancels."""
    log_q = jnp.array([0.0, -900.0, 900.0])
    small = importance_weights(jnp.array([0.0, 1.0, 2.0]), log_q, 1e-3)
    large = importance_weights(jnp.array([0.0, 1.0, 2.0]) + 2.0**20, log_q, 1e-3)
    np.testing.assert_allclose(small, large, rtol=1e-9)
    np.testing.assert_allclose(small.sum(), 1)
    expected = np.array([1.0, np.exp(-100.0), 0.0])
    np.testing.assert_allclose(small, expected, atol=1e-300, rtol=1e-9)


def test_the_spread_may_be_a_schedule_of_the_updates_so_far():
    x = jnp.zeros(1000)
    method = mgs(1, lambda updates: jnp.where(updates < 1, 1.0, 0.0), 1.0)
    state, widths = method.init(x, None), []
    for seed in range(2):
        proposal = method.propose(state, x, jax.random.key(seed))
        widths.append(float(proposal.aux.directions.std()))
        assert np.isfinite(proposal.aux.log_q).all()
        _, state, _ = method.update(state, x, proposal, jnp.zeros(1))
    assert abs(widths[0] - 1) < SIGMAS / np.sqrt(2 * 1000)
    assert widths[1] < 1e-7


@pytest.mark.parametrize(
    "setting",
    [
        {"samples": 0},
        {"temperature": 0.0},
        {"mixture": -0.1},
        {"mixture": 1.1},
        {"spread": 0.0},
        {"weights": "likelyhood"},
        {"proposal": "product"},
    ],
)
def test_settings_out_of_range_are_refused(setting):
    settings = {"samples": 4, "spread": 0.1, "temperature": 1.0, **setting}
    with pytest.raises(ValueError, match=f"{next(iter(setting))} is .*; expected"):
        mgs(**settings)
