"""What hypergrad and zeroth import, and the first-order estimator."""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import hypergrad, optim

ROOT = Path(__file__).parents[1]


def modules_after(statement):
    code = f"import sys; {statement}; print(*sorted(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    return set(out.stdout.split())


@pytest.mark.parametrize("package", ["hypergrad", "zeroth"])
def test_a_pure_package_loads_jax_and_nothing_else(package):
    loaded = modules_after(f"import nasjax.{package}")
    assert "jax" in loaded
    others = {"flax", "optax", "orbax", "chex", "ml_collections", "matplotlib"}
    assert not loaded & others
    own = {name for name in loaded if name.startswith("nasjax.")}
    assert all(name.startswith(f"nasjax.{package}") for name in own), own


def test_the_package_itself_does_not_even_load_jax():
    loaded = modules_after("import nasjax; nasjax.__version__; dir(nasjax)")
    assert not loaded & {"jax", "flax", "optax", "numpy"}
    assert {n for n in loaded if n.startswith("nasjax")} == {"nasjax"}


@pytest.mark.usefixtures("float64", "strict_dtypes")
def test_first_order_takes_w_as_independent_of_alpha():
    """L = |w|^2 . a[0] + a[1]^2 over dictionaries; the partial derivative in a."""

    def val_loss(w, arch, batch):
        mix = arch["normal"]
        return batch * (jnp.sum(jnp.square(w["p"])) * mix[0] + mix[1] ** 2)

    estimator = hypergrad.first_order(val_loss)
    w, arch = {"p": jnp.array([1.0, 2.0])}, {"normal": jnp.array([3.0, -4.0])}
    value, grad = estimator(w, arch, None, 2.0)
    np.testing.assert_allclose(value, 2 * (5 * 3 + 16))
    np.testing.assert_allclose(grad["normal"], [10.0, -16.0])
    assert estimator.name == "first_order"
    assert estimator.objective is val_loss


@pytest.mark.parametrize("clip", [0.0, 0.3])
def test_unrolled_is_the_derivative_of_its_objective(float64, clip):
    """Through momentum, weight decay and clipping; jitted, and mapped over alpha."""
    draws = np.random.default_rng(0)
    w = {"a": draws.normal(size=(4, 3)), "b": draws.normal(size=3)}
    x, y = draws.normal(size=(2, 5, 4))
    alphas = draws.normal(size=(2, 3))
    optimizer = optim.sgd(0.3, 0.9, 0.1, clip)

    def loss(w, alpha, batch):
        return jnp.sum(jnp.tanh(batch @ w["a"] + (alpha * w["b"])[None]) ** 2 @ alpha)

    grads = jax.grad(loss)(w, alphas[0], x)
    state = optimizer.update(grads, optimizer.init(w), w)[1]  # a live momentum buffer
    estimator = hypergrad.unrolled(loss, loss, optimizer)

    found = jax.jit(jax.vmap(lambda a: estimator(w, a, x, y, state)))(alphas)
    for row, alpha in enumerate(alphas):
        exact = jax.value_and_grad(estimator.objective, 1)(w, alpha, x, y, state)
        np.testing.assert_allclose(found.value[row], exact[0], rtol=1e-12)
        np.testing.assert_allclose(found.grad[row], exact[1], rtol=1e-10, atol=1e-12)
    first = hypergrad.first_order(loss)(w, alphas[0], x, y)
    assert np.abs(found.grad[0] - first.grad).max() > 1e-3
