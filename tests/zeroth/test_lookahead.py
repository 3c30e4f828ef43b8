"""The look-ahead on quadratics, whose descent is linear algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasjax import hypergrad
from nasjax.zeroth import lookahead

pytestmark = pytest.mark.usefixtures("float64")

H, RATE = 1.6, 0.25


def train_loss(w, arch, batch):
    """Minimal at w = arch + batch."""
    return H / 2 * sum(jnp.vdot(r, r) for r in (w["p"] - arch - batch,))


def val_loss(w, arch, batch):
    return jnp.sum(w["p"] * batch) + jnp.sum(jnp.square(arch))


W = {"p": np.array([1.0, -2.0, 0.5])}
ARCH = np.array([0.3, 0.1, -0.7])
WEIGHTS = np.array([1.0, 10.0, 100.0])  # val_loss reads all coordinates of w


def expected(w):
    return WEIGHTS @ w + np.square(ARCH).sum()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_quadratic_follows_the_powers_of_its_matrix(steps, momentum):
    """e = w - target: v' = momentum v + H e, e' = e - rate v', a linear map of both."""
    target = ARCH + 0.2
    matrix = np.array([[1 - RATE * H, -RATE * momentum], [H, momentum]])
    errors = np.linalg.matrix_power(matrix, steps)[0, 0] * (W["p"] - target)
    objective = lookahead(
        train_loss, val_loss, optax.sgd(RATE, momentum=momentum or None)
    )
    value = objective(ARCH, W, jnp.full((steps, 1), 0.2), WEIGHTS)
    np.testing.assert_allclose(value, expected(target + errors), rtol=1e-12)


def test_batches_are_taken_in_their_order():
    """With rate * H = 1/2 each step goes half the way to its own target."""
    objective = lookahead(train_loss, val_loss, optax.sgd(0.5 / H))
    batches = jnp.array([[8.0], [0.0], [-4.0]])
    value = objective(ARCH, W, batches, WEIGHTS)
    w3 = W["p"] / 8 + (ARCH + 8) / 8 + ARCH / 4 + (ARCH - 4) / 2
    np.testing.assert_allclose(value, expected(w3), rtol=1e-12)


def test_candidates_under_vmap_equal_one_by_one_and_w_is_not_changed():
    objective = jax.jit(lookahead(train_loss, val_loss, optax.sgd(RATE, momentum=0.9)))
    w = jax.tree.map(jnp.asarray, W)
    batches = jnp.array([[0.2], [0.5]])
    candidates = ARCH + np.random.default_rng(0).normal(size=(4, 3))
    together = jax.vmap(lambda arch: objective(arch, w, batches, WEIGHTS))(candidates)
    alone = [objective(arch, w, batches, WEIGHTS) for arch in candidates]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    assert len(set(np.asarray(together).tolist())) == 4
    np.testing.assert_array_equal(w["p"], W["p"])
    # A fresh optimiser in every call: a second call finds no momentum left over.
    assert float(objective(candidates[0], w, batches, WEIGHTS)) == float(alone[0])


def test_its_gradient_is_the_hypergradient_of_one_step():
    """d/d arch of val(w - rate * H (w - arch - b)): through w rate * H * weights."""
    objective = lookahead(train_loss, val_loss, optax.sgd(RATE))
    grad = jax.grad(objective)(ARCH, W, jnp.full((1, 1), 0.2), WEIGHTS)
    np.testing.assert_allclose(grad, RATE * H * WEIGHTS + 2 * ARCH, rtol=1e-12)


OPTIMIZERS = {
    "momentum": optax.sgd(RATE, momentum=0.9),
    "adamw": optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1)),
}


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_it_is_the_objective_of_the_hypergradients(steps, name, live):
    """first_order without inner steps; unrolled with the same optimiser and state."""
    optimizer, w = OPTIMIZERS[name], jax.tree.map(jnp.asarray, W)
    fresh = optimizer.init(w)
    _, state = optimizer.update(jax.tree.map(jnp.ones_like, w), fresh, w)
    state = state if live else None
    batches = jnp.array([[0.2], [0.5], [-0.1]])[:steps]
    if steps == 0:
        estimator, train = hypergrad.first_order(val_loss), None
    else:
        estimator = hypergrad.unrolled(train_loss, val_loss, optimizer, steps)
        train = batches[0] if steps == 1 else batches
    expected = estimator.objective(w, ARCH, train, WEIGHTS, state)
    objective = jax.jit(lookahead(train_loss, val_loss, optimizer))
    value = objective(ARCH, w, batches, WEIGHTS, state)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    if steps and live:
        without = objective(ARCH, w, batches, WEIGHTS)
        assert abs(without - value) > 1e-3, "the state made no difference"


def test_half_precision_weights_stay_so():
    """An update of a wider dtype must not change what the loop carries."""
    w = {"p": jnp.ones(3, jnp.bfloat16)}
    loss = lambda w, arch, batch: jnp.sum(jnp.square(w["p"] - arch)).astype("float32")
    wide = lambda w: optax.tree.cast(w, jnp.float32)
    optimizer = optax.GradientTransformation(
        lambda w: (), lambda grads, state, w: (wide(grads), state)
    )
    objective = lookahead(loss, loss, optimizer)
    assert objective(jnp.bfloat16(0.5), w, jnp.zeros(2), None).dtype == "float32"


def test_a_state_of_another_optimiser_is_refused():
    objective = lookahead(train_loss, val_loss, OPTIMIZERS["momentum"])
    other = optax.adam(0.1).init(W)
    with pytest.raises(ValueError, match="opt_state has the structure .*; expected"):
        objective(ARCH, W, jnp.zeros((1, 1)), WEIGHTS, other)
