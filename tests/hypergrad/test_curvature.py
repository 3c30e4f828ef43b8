"""Curvature against brute force and known spectra, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.hypergrad import curvature

pytestmark = pytest.mark.usefixtures("float64", "strict_dtypes")

KEY = jax.random.key(0)
DRAWS = np.random.default_rng(0)
ALPHA = {"normal": DRAWS.normal(size=(3, 4)), "reduce": DRAWS.normal(size=(2, 4))}
N = 20
IMAGES, LABEL = DRAWS.normal(size=(6, 5)), DRAWS.normal(size=6)
MATRICES = DRAWS.normal(size=(5, 4, 5, 5))


def network(alpha):
    """Five edges in a row, each a mixture of four layers, and their squared error."""
    mix = jnp.concatenate([jax.nn.softmax(alpha[k], -1) for k in ("normal", "reduce")])
    y = jnp.asarray(IMAGES, mix.dtype)
    for edge in range(5):
        layers = jnp.asarray(MATRICES[edge], mix.dtype)
        each = [y, jnp.tanh(y @ layers[1]), jnp.sin(y @ layers[2]), y @ layers[3]]
        y = sum(mix[edge, o] * out for o, out in enumerate(each))
    return jnp.square(y.sum(1) - jnp.asarray(LABEL, mix.dtype)).mean()


SPECTRUM = jax.jit(lambda x: curvature.spectrum(network, x))
LANCZOS = jax.jit(lambda x: curvature.dominant(network, x, KEY))


@pytest.fixture(scope="module")
def brute_force():
    """Central differences of the gradient; error h^2 + 1e-16 / h, about 1e-10."""
    with jax.enable_x64(True):
        gradient = jax.jit(jax.grad(network))
        h, columns = 1e-5, []
        for name, alpha in ALPHA.items():
            for entry in np.eye(alpha.size).reshape(-1, *alpha.shape):
                ends = [gradient({**ALPHA, name: alpha + s * entry}) for s in (h, -h)]
                change = jax.tree.map(lambda a, b: (a - b) / (2 * h), *ends)
                columns.append(np.concatenate([np.ravel(change[k]) for k in ALPHA]))
    return np.array(columns)


def bowl(values, seed=0):
    """A function whose Hessian has these eigenvalues, and its argument."""
    n = len(values)
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, n)))[0]
    matrix = basis @ np.diag(np.asarray(values, float)) @ basis.T
    return (lambda x: x @ matrix @ x / 2 + x.sum()), jnp.ones(n), matrix


def lanczos(values, steps, seed=0):
    f, x, _ = bowl(values, seed)
    run = jax.jit(lambda x, key: curvature.dominant(f, x, key, steps))
    return jax.device_get(run(x, jax.random.key(seed)))


# The full matrix.


def test_hessian_and_its_eigenvalues_against_brute_force(brute_force):
    matrix = jax.jit(lambda x: curvature.hessian(network, x))(ALPHA)
    np.testing.assert_allclose(matrix, brute_force, atol=1e-8)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-13)
    expected = np.linalg.eigh(brute_force)[0]
    found = jax.jit(lambda x: curvature.eigenvalues(network, x))(ALPHA)
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert abs(expected).max() > 0.1, "no test at all"


def test_spectrum_is_exact_for_few_entries(brute_force):
    found = SPECTRUM(ALPHA)
    expected = np.linalg.eigh(brute_force)[0]
    strongest = expected[abs(expected).argmax()]
    np.testing.assert_allclose(
        found, [expected[-1], strongest, 0, np.trace(brute_force), 0], atol=1e-7
    )


@pytest.mark.parametrize("chunk", [1, 7, 50])
def test_chunks_do_not_change_the_matrix(chunk):
    f, x, matrix = bowl(np.arange(-4, 6))
    found = jax.jit(lambda x: curvature.hessian(f, x, chunk))(x)
    np.testing.assert_allclose(found, matrix, atol=1e-12)
    np.testing.assert_allclose(curvature.trace(f, x, chunk), 5, rtol=1e-12)


def test_weight_decay_moves_every_eigenvalue():
    f, x, _ = bowl([-2.0, 0.0, 3.0])
    decayed = lambda x: f(x) + 1e-3 / 2 * jnp.square(x).sum()
    np.testing.assert_allclose(
        curvature.eigenvalues(decayed, x), [-1.999, 0.001, 3.001], atol=1e-12
    )


# Lanczos.


def test_lanczos_against_the_whole_matrix(brute_force):
    expected = np.linalg.eigh(brute_force)[0]
    found = LANCZOS(ALPHA)
    np.testing.assert_allclose(found.largest, expected[-1], atol=1e-8)
    np.testing.assert_allclose(
        found.strongest, expected[abs(expected).argmax()], atol=1e-8
    )
    assert found.error < 1e-12


@pytest.mark.parametrize("sign", [1, -1])
def test_ends_of_a_long_spectrum_and_their_error(sign):
    """Decaying like 1 / k^2, of both signs, the strongest of the given one."""
    values = np.concatenate([sign * 9 / np.arange(1, 61) ** 2.0, -sign * np.ones(20)])
    few, many = lanczos(values, 6), lanczos(values, 40)
    np.testing.assert_allclose(many.largest, max(values), rtol=1e-12)
    np.testing.assert_allclose(many.strongest, sign * 9, rtol=1e-12)
    assert many.error < 1e-10 < few.error
    for value in (few.largest, few.strongest):
        assert abs(values - value).min() <= few.error


@pytest.mark.parametrize(
    "values",
    [
        [5.0] * 3 + [1.0] * 20,
        [-5.0] * 3 + [4.0] * 3 + [0.0] * 10,
        [2.0] * 12,
        [0.0] * 12,
        [3.0] + [0.0] * 30,
        [-3.0, 2.0] + [0.0] * 30,
        [7.0],
        [1e-12, -1e-13, *[0.0] * 5],
    ],
)
@pytest.mark.parametrize("steps", [10, 100])
def test_invariant_subspaces_and_multiple_eigenvalues(values, steps):
    found = lanczos(values, steps)
    scale = max(map(abs, values))
    np.testing.assert_allclose(found.largest, max(values), atol=1e-12 * scale)
    strongest = max(values, key=abs)
    np.testing.assert_allclose(found.strongest, strongest, atol=1e-12 * scale)
    assert 0 <= found.error <= 1e-12 * scale


def test_n_steps_see_every_eigenvalue():
    """Two eigenvalues, four times each: the subspace is closed after two steps."""
    f = lambda x: jnp.square(x[:4]).sum() + 3 * jnp.square(x[4:]).sum()
    run = jax.vmap(lambda key: curvature.dominant(f, jnp.ones(8), key, steps=8))
    found = jax.jit(run)(jax.random.split(KEY, 5))
    np.testing.assert_allclose(found[:2], np.full((2, 5), 6), rtol=1e-12)


def test_different_keys_agree():
    values = np.concatenate([-8 / np.arange(1, 50) ** 2.0, [3.0]])
    f, x, _ = bowl(values)
    run = jax.vmap(lambda key: jnp.stack(curvature.dominant(f, x, key, 30)[:2]))
    found = jax.jit(run)(jax.random.split(KEY, 3))
    np.testing.assert_allclose(found, [[3, -8]] * 3, rtol=1e-10)


# Hutchinson.


def test_hutchinson_is_unbiased_with_the_stated_error():
    f, x, matrix = bowl(np.linspace(-1, 3, 12))
    run = jax.jit(
        jax.vmap(lambda key: curvature.hutchinson(f, x, key, samples=20, chunk=20))
    )
    found = jax.device_get(run(jax.random.split(KEY, 400)))
    off = matrix - np.diag(np.diag(matrix))
    error = np.sqrt(2 * np.square(off).sum() / 20)  # standard error of one estimate
    assert abs(found.mean.mean() - np.trace(matrix)) < 5 * error / 20
    np.testing.assert_allclose(found.mean.std(), error, rtol=5 / np.sqrt(2 * 400))
    squares = np.square(found.error)  # unbiased for error^2
    slack = 5 * squares.std() / 20
    assert abs(squares.mean() - error**2) < slack < error**2 / 5


def test_hutchinson_is_exact_on_a_diagonal():
    f = lambda x: (np.arange(9.0) * x**3).sum()
    found = curvature.hutchinson(f, jnp.ones(9), KEY, samples=5, chunk=2)
    np.testing.assert_allclose(found, [6 * 36, 0], atol=1e-12)


# Larger arguments, and behaviour that all functions share.


def test_spectrum_of_many_entries_is_estimated():
    n = curvature.DENSE + 1
    values = jnp.concatenate([jnp.array([-9.0, 4.0]), jnp.linspace(0.0, 1.0, n - 2)])
    f = lambda x: (values * x["a"] ** 2).sum() / 2
    x = {"a": jnp.ones(n)}
    found = jax.jit(lambda x: curvature.spectrum(f, x, KEY))(x)
    np.testing.assert_allclose(found[:2], [4, -9], rtol=1e-10)
    np.testing.assert_allclose(found.trace, values.sum(), rtol=1e-12)
    assert found.error < 1e-9
    with pytest.raises(ValueError, match="401 entries and no key was given"):
        curvature.spectrum(f, x)


def test_single_and_half_precision():
    with jax.enable_x64(False):
        alpha = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), ALPHA)
        exact, ends = SPECTRUM(alpha), LANCZOS(alpha)
        assert {value.dtype for value in (*exact, *ends)} == {jnp.dtype("float32")}
        np.testing.assert_allclose(ends[:2], exact[:2], rtol=1e-4)
        half = curvature.hessian(
            lambda x: jnp.square(x).sum(), jnp.ones(3, jnp.bfloat16)
        )
        np.testing.assert_array_equal(half, 2 * np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(exact, SPECTRUM(ALPHA), rtol=1e-3, atol=1e-4)


def test_what_is_not_a_number_stays_so():
    f = lambda x: jnp.sqrt(-jnp.abs(x)).sum()
    found = curvature.spectrum(f, jnp.ones(3))
    assert np.isnan(found.largest)
    assert np.isnan(curvature.dominant(f, jnp.ones(3), KEY).largest)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda f, x: curvature.hessian(f, x, chunk=0), ValueError, "chunk is 0"),
        (lambda f, x: curvature.dominant(f, x, KEY, 0), ValueError, "steps is 0"),
        (lambda f, x: curvature.hutchinson(f, x, KEY, 0), ValueError, "samples is 0"),
        (lambda f, x: curvature.hutchinson(f, x, KEY, 1), ValueError, "at least 2"),
        (lambda f, x: curvature.hessian(f, {}), ValueError, "no entries"),
        (lambda f, x: curvature.trace(f, jnp.arange(3)), TypeError, "floating point"),
        (lambda f, x: curvature.hessian(lambda x: x, x), TypeError, "scalar"),
    ],
)
def test_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(lambda x: (x**2).sum(), jnp.ones(3))
