"""The formulas of the studies in results/claims, on problems with known answers."""

import runpy
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT

FOLDER = ROOT / "results" / "claims"


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    """A script finds the modules beside it."""
    monkeypatch.syspath_prepend(FOLDER)


def of(name):
    return SimpleNamespace(**runpy.run_path(str(FOLDER / f"{name}.py")))


@pytest.mark.parametrize("seed", [0, 1])
def test_cosines_of_the_implicit_and_the_amending_term(seed, float64):
    """L_train = w'Hw/2 - w'Ba, whose Gauss-Newton matrix in w is H."""
    draws = np.random.default_rng(seed)
    root, mixed = draws.normal(size=(5, 5)), draws.normal(size=(5, 3))
    hessian, slope = root @ root.T, draws.normal(size=5)
    problem = SimpleNamespace(
        val=lambda w, a, batch: slope @ w + a @ a,
        train=lambda w, a, batch: 0.5 * w @ hessian @ w - w @ mixed @ a,
        outputs=lambda w, a, batch: root.T @ w,
        of_outputs=lambda out, batch: 0.5 * out @ out,
    )
    w, a = jnp.asarray(draws.normal(size=5)), jnp.asarray(draws.normal(size=3))
    found = of("alignment").terms(problem, w, a, None, None)

    def cosine(x, y):
        return x @ y / np.sqrt((x @ x) * (y @ y))

    amended, direct = mixed.T @ hessian @ slope, 2 * a
    np.testing.assert_allclose(found["amended, direct"], cosine(amended, direct))
    for damping in (0.1, 1.0):
        damped = hessian + damping * np.eye(5)
        exact = mixed.T @ np.linalg.solve(damped, slope)
        both = mixed.T @ damped @ slope
        for name, value in (
            (f"hessian, {damping}", cosine(amended, exact)),
            (f"gauss-newton, {damping}", cosine(both, exact)),
            (f"exact, direct, {damping}", cosine(exact, direct)),
        ):
            np.testing.assert_allclose(found[name], value, rtol=1e-3, err_msg=name)
        assert found[f"residual, {damping}"] < 1e-3


def test_shares_of_the_two_way_layout():
    """Effects that were put in; together the shares are 1."""
    method, search = np.array([0.3, 0.0, -0.3]), np.array([0.1, -0.1])
    network = np.array([0.02, -0.02])
    gains = search[:, None, None] + network[None, :, None] + method
    found = of("maps").shares(gains)
    sums = {
        "method": 4 * (method**2).sum(),
        "search": 6 * (search**2).sum(),
        "network within a search": 6 * (network**2).sum(),
        "method x search": 0,
        "rest": 0,
    }
    assert sum(found.values()) == pytest.approx(1)
    for name, value in sums.items():
        assert found[name] == pytest.approx(value / sum(sums.values())), name


def test_a_quadratic_rises_by_its_trace():
    """The mean rise over antithetic uniform draws is eps^2 / 6 times the trace."""
    matrix = np.diag([1.0, 2.0, 3.0])
    own = of("flatness")
    loss = lambda x: 0.5 * x @ matrix @ x + x.sum()
    mean, error = own.rise(loss, jnp.ones(3), 0.1, jax.random.key(0))
    assert abs(mean - 0.01 / 6 * 6) < 4 * error
    assert error < 0.001


def test_what_two_starts_share():
    """Deltas with known signs: one image flipped in all entries, one in a quarter."""
    draws = np.random.default_rng(0)
    images = jnp.asarray(draws.normal(size=(2, 4, 4, 1)))
    first = jnp.asarray(draws.choice([-1.0, 1.0], (2, 4, 4, 1)) * abs(images))
    second = first.at[0].multiply(-1).at[1, 0].multiply(-1)
    found = of("attacks").of_starts(images, first, second, 1.0)
    assert found["agreement"] == pytest.approx((0 + 0.75) / 2)
    assert found["flipped"] == 0.5
    assert found["size"] == pytest.approx(1), "the sizes are equal"
    product = np.asarray(images * first)
    expected = [np.corrcoef(x.ravel(), y.ravel())[0, 1]
                for x, y in zip(np.asarray(images), product, strict=True)]  # fmt: skip
    assert found["signed"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert found["absolute"] == pytest.approx(found["scaled"])


def test_no_correlation_of_a_constant_image():
    own = of("attacks").correlation(jnp.zeros((1, 2, 2, 1)), jnp.ones((1, 2, 2, 1)))
    assert own.tolist() == [0.0]
