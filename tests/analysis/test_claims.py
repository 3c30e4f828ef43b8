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
    own = of("alignment")
    terms = own.exact(problem, w, a, None, None)
    pairs = own.approximate(problem, w, a, None, None)
    found = own.compared(
        {damping: np.asarray(term) for damping, (term, *_) in terms.items()},
        {kind: np.stack([term, -3 * term]) for kind, term in pairs.items()},
    )

    def cosine(x, y):
        return x @ y / np.sqrt((x @ x) * (y @ y))

    for damping in own.DAMPINGS:
        exact = mixed.T @ np.linalg.solve(hessian + damping * np.eye(5), slope)
        amended = cosine(mixed.T @ hessian @ slope, exact)
        identity = cosine(mixed.T @ slope, exact)
        for kind, value in (
            ("hessian", amended), ("gauss-newton", amended), ("identity", identity),
        ):  # fmt: skip
            term = np.asarray(pairs[kind])
            assert cosine(term, terms[damping][0]) == pytest.approx(value, abs=0.03)
            both = found[f"{kind}, {damping}"]
            assert both["cosine"] == pytest.approx(0, abs=1e-6)
            assert both["negative"] == 0.5
            assert both["of_mean"] == pytest.approx(-value, abs=0.03)
        assert terms[damping][1] < own.TOLERANCE


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


def test_the_rise_of_a_quadratic_and_of_a_quartic():
    """eps^2 / 6 tr H exactly; x^4 at 0 rises by eps^4 / 5, whatever H is given."""
    matrix = np.diag([1.0, 2.0, 3.0])
    own = of("flatness")
    loss = lambda x: 0.5 * x @ matrix @ x + x.sum()
    mean, error = own.rise(loss, jnp.ones(3), matrix, 0.1, jax.random.key(0))
    assert mean == pytest.approx(0.01, rel=1e-3) and error < 1e-6
    quartic = lambda x: (x**4).sum()
    own.rise.__globals__["DRAWS"] = 500
    for given in (np.zeros((1, 1)), np.ones((1, 1))):
        mean, error = own.rise(quartic, jnp.zeros(1), given, 0.5, jax.random.key(0))
        assert abs(mean - 0.5**4 / 5) < 4 * error < 0.02


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


def test_an_image_that_does_not_move_is_not_flipped():
    moved = jnp.ones((2, 2, 2, 1)).at[0].set(0)
    found = of("attacks").of_starts(jnp.ones((2, 2, 2, 1)), moved, moved, 1.0)
    assert found["moved"] == 0.5
    assert found["agreement"] == 1 and found["flipped"] == 0


def test_the_trace_along_the_simplex():
    """tr(P H P) with P = I - 1 1' / n, for each of two rows of three."""
    matrix = np.array([[1.0, 2.0, 0.0], [2.0, 5.0, 1.0], [0.0, 1.0, 3.0]])
    both = np.kron(np.diag([1.0, 2.0]), matrix)
    total, simplex = of("flatness").traces(both, 3)
    assert total == 27
    centre = np.eye(3) - 1 / 3
    assert simplex == pytest.approx(3 * np.trace(centre @ matrix @ centre))


def test_names_of_sets():
    name = of("verdicts").name_of
    saliency = {"mode": "scaled", "target": "predicted", "ascent": "gradient"}
    config = lambda algorithm, arch, **own: {
        "algorithm": algorithm, "arch": arch, "saliency": saliency | own
    }  # fmt: skip
    assert (
        name(config("darts_second", {"darts_second": {"every": 5}})) == "darts_second_5"
    )
    assert name(config("zarts_mgs", {"zarts_mgs": {"every": 4}})) == "zarts_mgs"
    both = {"darts_second": {"every": 5}, "sanas": {"every": 5}}
    assert name(config("darts_second+sanas", both)) == "sanas"
    printed = dict(zip(saliency, of("verdicts").PRINTED, strict=True))
    assert name(config("darts_second+sanas", both, **printed)) == "sanas_printed"


def test_no_correlation_of_a_constant_image():
    own = of("attacks").correlation(jnp.zeros((1, 2, 2, 1)), jnp.ones((1, 2, 2, 1)))
    assert own.tolist() == [0.0]
