"""RS against closed forms, in float64. Tolerances are 5 standard errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree

from nasjax import hypergrad
from nasjax.zeroth import gradient_estimate, lookahead, random_search

pytestmark = pytest.mark.usefixtures("float64")

SIGMAS = 5
DRAWS = 20_000
KINDS = [
    ("normal", "joint"),
    ("normal", "leaf"),
    ("sphere", "joint"),
    ("sphere", "leaf"),
]
X = {"a": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([5.0, -1.0, 0.5])}
G = {"a": np.array([[0.2, -0.1], [0.0, 0.3]]), "b": np.array([-0.25, 0.1, 2.0])}


def linear(x):
    return 3.0 + sum(jnp.vdot(G[k], x[k]) for k in G)


def estimates(method, loss, x=X, draws=DRAWS):
    """Gradient estimates [draws, d], and their directions [draws, n, d]."""
    x = jax.tree.map(jnp.asarray, x)

    def one(key):
        proposal = method.propose(method.init(x, key), x, key)
        grad = gradient_estimate(proposal, jax.vmap(loss)(proposal.candidates))
        return ravel_pytree(grad)[0], proposal.aux.directions

    keys = jax.random.split(jax.random.key(0), draws)
    grads, directions = jax.jit(jax.vmap(one))(keys)
    return np.asarray(grads), np.asarray(directions)


def flat(tree):
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


def square_on_linear(distribution, groups):
    """E of the square of each coordinate of one direction's estimate, phi (g.u) u.

    With E u_i^2 = 1 / d, E u_i^4 = 3 / (d (d + 2)) and E u_i^2 u_j^2 = 1 / (d (d + 2))
    on the unit sphere; different groups are independent.
    """
    g = flat(G)
    if distribution == "normal":
        return g @ g + 2 * g**2
    parts = [g] if groups == "joint" else [g[:4], g[4:]]
    others = lambda part: sum(p @ p / len(p) for p in parts if p is not part)
    return np.concatenate(
        [len(p) / (len(p) + 2) * (p @ p + 2 * p**2) + len(p) * others(p) for p in parts]
    )


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize(("distribution", "groups"), KINDS)
def test_on_a_linear_loss_the_mean_is_the_gradient(distribution, groups, antithetic):
    """phi(d) is right: the mean is g, with the variance of the distribution."""
    method = random_search(1, 0.3, 1.0, distribution, antithetic, groups)
    found, _ = estimates(method, linear)
    square = square_on_linear(distribution, groups)
    error = np.sqrt((square - flat(G) ** 2) / DRAWS)
    assert (np.abs(found.mean(0) - flat(G)) <= SIGMAS * error).all()
    error = (found**2).std(0) / np.sqrt(DRAWS)
    assert (np.abs((found**2).mean(0) - square) <= SIGMAS * error).all()
    if (distribution, groups) == ("sphere", "leaf"):
        other = square_on_linear("sphere", "joint")
        assert (np.abs(other - square) > 2 * SIGMAS * error).any(), "no test at all"


def test_the_update_descends_the_estimate_at_its_rate():
    x = jax.tree.map(jnp.asarray, X)
    method = random_search(4, 0.1, 0.03)
    proposal = method.propose(method.init(x, None), x, jax.random.key(1))
    losses = jax.vmap(linear)(proposal.candidates)
    new, state, metrics = method.update(method.init(x, None), x, proposal, losses)
    grad = gradient_estimate(proposal, losses)
    for name in X:
        np.testing.assert_allclose(new[name], X[name] - 0.03 * grad[name], rtol=1e-12)
    np.testing.assert_allclose(metrics["step_norm"], 0.03 * np.linalg.norm(flat(grad)))
    # By hand, from eq. 4: rows are pairs.
    u, pairs = np.asarray(proposal.aux.directions), np.asarray(losses).reshape(4, 2)
    difference = (pairs[:, 0] - pairs[:, 1]) / (2 * 0.1 * 4)
    phi = np.array([4.0] * 4 + [3.0] * 3)
    np.testing.assert_allclose(flat(grad), phi * (difference @ u), rtol=1e-9)


H = np.diag([1.0, 10.0, 100.0]) + 2.0
POINT = np.array([0.3, -0.2, 0.1])


def test_curvature_is_invisible_to_pairs_and_not_to_one_side():
    """On x'Hx/2: phi (g.u) u whatever mu is; one-sided mu/2 u'Hu phi u more."""
    quadratic = lambda x: x @ H @ x / 2
    for antithetic, extra in ((True, 0.0), (False, 0.5)):
        for mu in (0.01, 2.0):
            method = random_search(1, mu, 1.0, antithetic=antithetic)
            found, u = estimates(method, quadratic, POINT, 100)
            u = u[:, 0]
            slope = u @ H @ POINT + extra * mu * np.einsum("ni,ij,nj->n", u, H, u)
            np.testing.assert_allclose(found, 3 * slope[:, None] * u, rtol=1e-8)


@pytest.mark.parametrize(
    ("distribution", "factor"), [("normal", 12), ("sphere", 12 / 5)]
)
def test_the_bias_is_that_of_the_smoothed_loss_and_falls_as_mu_squared(
    distribution, factor
):
    """sum_i a_i x_i^4 gains 12 mu^2 a x (normal), or 12 mu^2 a x / (d + 2) (sphere)."""
    a = np.array([1.0, -2.0, 0.5])
    loss = lambda x: jnp.sum(a * x**4)
    method = lambda mu: random_search(1, mu, 1.0, distribution)
    at = lambda mu: estimates(method(mu), loss, POINT)[0]
    slope, half, whole = at(1e-3), at(0.1), at(0.2)  # of the same directions
    np.testing.assert_allclose(whole - slope, 4 * (half - slope), rtol=1e-2, atol=1e-6)
    bias = (whole - slope) / 0.2**2
    error = bias.std(0) / np.sqrt(DRAWS)
    assert (np.abs(bias.mean(0) - factor * a * POINT) <= SIGMAS * error + 1e-3).all()
    assert (SIGMAS * error < 0.3 * np.abs(factor * a * POINT).max()).all(), "no test"


ARCH = {
    "a": np.array([0.4, -0.3, 0.8]),
    "b": np.array([[0.1, 0.5, -0.6], [1.0, 0, 0.2]]),
}
W = {"p": np.array([0.7, -0.4, 0.3]), "q": np.array([0.2, -0.9])}
TRAIN, VAL = np.random.default_rng(0).normal(size=(2, 5, 3))
D = 9


def net_loss(w, arch, batch):
    hidden = jnp.tanh(batch * w["p"][None] + arch["a"][None])
    out = jnp.sin(hidden @ arch["b"].T) @ w["q"] + jnp.exp(0.3 * arch["a"]).sum()
    return jnp.mean(jnp.square(out - batch[:, 0]))


def second_order():
    """The look-ahead of one step of momentum SGD, and its exact gradient in arch."""
    optimizer = optax.sgd(0.2, momentum=0.9)
    w = jax.tree.map(jnp.asarray, W)
    _, live = optimizer.update(jax.tree.map(jnp.ones_like, w), optimizer.init(w), w)
    exact = hypergrad.unrolled(net_loss, net_loss, optimizer)
    grad = exact(w, jax.tree.map(jnp.asarray, ARCH), TRAIN, VAL, live).grad
    objective = lookahead(net_loss, net_loss, optimizer)
    return lambda arch: objective(arch, w, TRAIN[None], VAL, live), flat(grad)


@pytest.mark.parametrize(("distribution", "groups"), KINDS)
def test_with_one_inner_step_it_is_the_second_order_gradient(distribution, groups):
    """Cosine above 0.99 at N = 4096 directions, d = 9, mu = 1e-3."""
    objective, exact = second_order()
    method = random_search(4096, 1e-3, 1.0, distribution, groups=groups)
    (found, *_), _ = estimates(method, objective, ARCH, 1)
    cosine = found @ exact / np.linalg.norm(found) / np.linalg.norm(exact)
    assert cosine > 0.99
    np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(exact), rtol=0.2)


@pytest.mark.parametrize(
    ("distribution", "variance"), [("normal", D + 1), ("sphere", D - 1)]
)
def test_its_error_falls_as_the_root_of_the_directions(distribution, variance):
    """E |error|^2 / |g|^2 = (d + 1) / N for the normal, (d - 1) / N for the sphere."""
    objective, exact = second_order()
    for n in (16, 64, 256):
        method = random_search(n, 1e-3, 1.0, distribution, groups="joint")
        found, _ = estimates(method, objective, ARCH, 200)
        squares = np.square(found - exact).sum(1) / (exact @ exact)
        error = squares.std() / np.sqrt(200)
        assert abs(squares.mean() - variance / n) <= SIGMAS * error
        assert SIGMAS * error < 0.7 * variance / n, "no test at all"


def test_its_bias_falls_as_the_square_of_the_radius():
    objective, _ = second_order()
    method = lambda mu: random_search(500, mu, 1.0)
    at = lambda mu: estimates(method(mu), objective, ARCH, 1)[0]
    slope = at(1e-4)  # of the same directions as the others
    biases = [np.linalg.norm(at(mu) - slope) for mu in (0.08, 0.04, 0.02)]
    ratios = np.divide(biases[:-1], biases[1:])
    np.testing.assert_allclose(ratios, 4, rtol=0.03)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_pair_with_a_broken_loss_is_as_if_never_drawn(broken):
    x = jnp.array([1.0, -1.0])
    method = random_search(4, 0.1, 1.0)
    proposal = method.propose(method.init(x, None), x, jax.random.key(5))
    losses = jnp.array([0.3, 0.1, broken, 0.5, 0.2, 0.9, 0.4, broken])
    new, _, metrics = method.update(method.init(x, None), x, proposal, losses)
    u = np.asarray(proposal.aux.directions)
    grad = 2 / (2 * 0.1 * 2) * (0.2 * u[0] - 0.7 * u[2])
    np.testing.assert_allclose(new, np.asarray(x) - grad, rtol=1e-12)
    assert int(metrics["left_out"]) == 4
    np.testing.assert_allclose(metrics["candidate_loss"], (0.3 + 0.1 + 0.2 + 0.9) / 4)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_one_sided_nothing_is_left_without_the_loss_of_x(broken):
    x = jnp.array([1.0, -1.0])
    method = random_search(3, 0.1, 1.0, antithetic=False)
    proposal = method.propose(method.init(x, None), x, jax.random.key(5))
    np.testing.assert_array_equal(proposal.candidates[0], x)
    losses = jnp.array([broken, 0.1, 0.2, 0.3])
    new, _, metrics = method.update(method.init(x, None), x, proposal, losses)
    np.testing.assert_array_equal(new, x)
    assert int(metrics["left_out"]) == 4
    assert int(metrics["moved"]) == 0
    # Without one of the other losses only its direction is left out.
    losses = jnp.array([0.5, 0.1, broken, 0.3])
    new, _, metrics = method.update(method.init(x, None), x, proposal, losses)
    u = np.asarray(proposal.aux.directions)
    grad = 2 / (0.1 * 2) * (-0.4 * u[0] - 0.2 * u[2])
    np.testing.assert_allclose(new, np.asarray(x) - grad, rtol=1e-12)
    assert int(metrics["left_out"]) == 1


@pytest.mark.parametrize("antithetic", [True, False])
def test_radius_and_rate_may_be_schedules_of_the_updates_so_far(antithetic):
    x = jnp.array([1.0, -1.0])
    fall = lambda updates: jnp.where(updates < 1, 1.0, 0.25)
    method = random_search(2, fall, fall, antithetic=antithetic)
    state, lengths, steps = method.init(x, None), [], []
    for _ in range(2):
        proposal = method.propose(state, x, jax.random.key(0))
        lengths.append(np.linalg.norm(proposal.candidates[1] - x))
        losses = proposal.candidates @ jnp.array([1.0, 2.0])
        new, state, _ = method.update(state, x, proposal, losses)
        steps.append(new - x)
    np.testing.assert_allclose(lengths, [1, 0.25])
    np.testing.assert_allclose(steps[1], 0.25 * steps[0], rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_radius_that_has_fallen_to_0_breaks_nothing(dtype):
    x = jnp.ones(3, dtype)
    method = random_search(2, lambda updates: 0.0 * updates, 0.1)
    proposal = method.propose(method.init(x, None), x, jax.random.key(0))
    losses = jax.vmap(jnp.sum)(proposal.candidates)
    new, _, _ = method.update(method.init(x, None), x, proposal, losses)
    assert (np.abs(new - x) < 1).all()


@pytest.mark.parametrize(
    "setting",
    [
        {"samples": 0},
        {"samples": 2.5},
        {"radius": 0.0},
        {"radius": np.nan},
        {"rate": -1.0},
        {"rate": np.inf},
        {"distribution": "cube"},
        {"groups": "cell"},
    ],
)
def test_settings_out_of_range_are_refused(setting):
    settings = {"samples": 4, "radius": 0.1, "rate": 1.0, **setting}
    with pytest.raises(ValueError, match=f"{next(iter(setting))} is .*; expected"):
        random_search(**settings)
