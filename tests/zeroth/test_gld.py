"""GLD: the ladder, the place of its candidates, and the candidate it takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.zeroth import gld, minimise

pytestmark = pytest.mark.usefixtures("float64", "strict_dtypes")

X = {"a": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([5.0, -1.0, 0.5])}


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def propose(method, x, seed=0):
    x = jax.tree.map(jnp.asarray, x)
    return method.propose(method.init(x, None), x, jax.random.key(seed))


@pytest.mark.parametrize(
    ("largest", "smallest", "radii"),
    [
        (1.0, 1.0, 1),
        (1.0, 0.51, 1),
        (1.0, 0.5, 2),
        (0.8, 0.1, 4),
        (1.2, 0.15, 4),
        (1.0, 0.1, 4),  # log2(10) = 3.32
        (0.3, 0.1, 2),  # log2(3) = 1.58
        (0.13, 4.69e-6, 15),  # 14.76, ZARTS' released code
        (1e-3, 1e-3 / 2**20, 21),
        (5, 1, 3),
    ],
)
def test_a_radius_for_each_halving_and_x_itself(largest, smallest, radii):
    method = gld(largest, smallest)
    expected = [0.0] + [largest / 2**k for k in range(radii)]
    radii_of = jax.jit(lambda: propose(method, X).aux.radii)
    np.testing.assert_allclose(radii_of(), expected, rtol=1e-15)
    assert method.samples == radii + 1
    assert expected[-1] >= smallest * (1 - 1e-9) > expected[-1] / 2


@pytest.mark.parametrize("k", range(0, 40, 3))
def test_powers_of_two_are_not_lost_to_rounding(k):
    for largest in np.random.default_rng(k).uniform(1e-3, 1e3, 20):
        for nudge in (-1, 0, 1):  # r as far off as its last digits
            smallest = np.nextafter(largest, largest + nudge) / 2**k
            smallest = min(smallest, largest)
            assert gld(largest, smallest).samples == k + 2
        assert gld(largest, 0.999 * largest / 2**k).samples == k + 2
        assert gld(largest, 1.001 * largest / 2 ** (k + 1)).samples == k + 2


def lengths(method, seed=0):
    """[N, leaves], the distance of each leaf of the candidates from the leaf of x."""
    moved = jax.tree.map(
        lambda c, x: c - x[None], propose(method, X, seed).candidates, X
    )
    norm = lambda m: np.linalg.norm(np.asarray(m).reshape(len(m), -1), axis=1)
    return np.stack([norm(moved[name]) for name in X], 1)


def test_on_spheres_each_leaf_or_all_of_x_moves_by_the_radius():
    ladder = np.array([0.0, 2.0, 1.0, 0.5, 0.25])
    for seed in range(3):
        alone = lengths(gld(2.0, 0.25, groups="leaf"), seed)
        np.testing.assert_allclose(alone, np.stack([ladder, ladder], 1), rtol=1e-9)
        joint = lengths(gld(2.0, 0.25, groups="joint"), seed)
        np.testing.assert_allclose(np.linalg.norm(joint, axis=1), ladder, rtol=1e-9)


@pytest.mark.parametrize("groups", ["leaf", "joint"])
def test_in_balls_the_power_d_of_the_length_is_uniform(groups):
    """The covariance is r^2 / (d + 2) I, as for a ball. Kolmogorov-Smirnov test."""
    draws, x = 4000, jax.tree.map(jnp.asarray, X)
    method = gld(2.0, 1.0, "ball", groups)

    def last(key):
        rows = method.propose(method.init(x, None), x, key).candidates
        return jax.tree.map(lambda c, x: (c[-1] - x).ravel(), rows, x)

    moved = jax.jit(jax.vmap(last))(jax.random.split(jax.random.key(0), draws))
    parts = [np.asarray(moved[name]) for name in X]
    for part in parts if groups == "leaf" else [np.concatenate(parts, 1)]:
        d = part.shape[1]
        uniform = np.sort(np.linalg.norm(part, axis=1) ** d)
        assert uniform[-1] <= 1
        distance = np.abs(uniform - (np.arange(draws) + 0.5) / draws).max()
        assert distance < 2.2 / np.sqrt(draws)  # p about 1e-4
        covariance = part.T @ part / draws
        # E u_i^4 = 3 / ((d + 2)(d + 4)) bounds the variance of all entries.
        error = np.sqrt(3 / ((d + 2) * (d + 4)) / draws)
        assert (np.abs(covariance - np.eye(d) / (d + 2)) <= 5 * error).all()


def test_it_goes_to_the_best_candidate_and_never_up():
    method, x = gld(1.0, 1e-3), jnp.array([-1.2, 1.0])
    state, values = method.init(x, None), [float(rosenbrock(x))]
    step = jax.jit(method.update)
    for seed in range(60):
        proposal = method.propose(state, x, jax.random.key(seed))
        np.testing.assert_array_equal(proposal.candidates[0], x)
        losses = jax.vmap(rosenbrock)(proposal.candidates)
        x, state, metrics = step(state, x, proposal, losses)
        best = int(np.argmin(losses))
        np.testing.assert_array_equal(x, proposal.candidates[best])
        assert int(metrics["index"]) == best
        assert float(metrics["radius"]) == float(proposal.aux.radii[best])
        assert bool(metrics["moved"]) == (best > 0)
        np.testing.assert_allclose(metrics["step_norm"], metrics["radius"], atol=1e-9)
        values.append(float(rosenbrock(x)))
    assert (np.diff(values) <= 0).all()
    assert values[-1] < 0.1 * values[0]


def test_a_monotone_function_of_the_loss_makes_the_same_path():
    runs = [
        minimise(gld(1.0, 1e-3), f, jnp.array([-1.2, 1.0]), jax.random.key(3), 100)
        for f in (rosenbrock, lambda x: jnp.log(rosenbrock(x)) - 7)
    ]
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1]["index"], runs[1][1]["index"])


def taken(losses):
    """The row that it takes, given 4 losses."""
    method, x = gld(1.0, 0.25), jnp.ones(3)
    proposal = propose(method, x)
    new, _, metrics = method.update(
        method.init(x, None), x, proposal, jnp.asarray(losses)
    )
    row = int(metrics["index"])
    np.testing.assert_array_equal(new, proposal.candidates[row])
    return row


def test_ties_and_broken_losses_keep_x():
    nan, inf = np.nan, np.inf
    assert taken([1.0, 1.0, 1.0, 1.0]) == 0
    assert taken([1.0, 2.0, 0.5, 0.5]) == 2
    assert taken([1.0, nan, inf, -inf]) == 0
    assert taken([1.0, nan, 2.0, 0.5]) == 3
    assert taken([nan, nan, inf, nan]) == 0
    # The loss of x itself may be nan: the best finite one is then taken.
    assert taken([nan, 3.0, 2.0, inf]) == 2


@pytest.mark.parametrize(
    "setting",
    [
        {"max_radius": 0.0},
        {"max_radius": np.inf},
        {"min_radius": 0.0},
        {"min_radius": 1.5},
        {"distribution": "normal"},
        {"groups": "cell"},
    ],
)
def test_settings_out_of_range_are_refused(setting):
    settings = {"max_radius": 1.0, "min_radius": 0.1, **setting}
    with pytest.raises(ValueError, match=f"{next(iter(setting))} is .*; expected"):
        gld(**settings)
