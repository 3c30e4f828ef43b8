"""Amended-DARTS with H and D of two training batches, in float64."""

import itertools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import harness

from nasjax.hypergrad import hvp, mixed_vjp
from nasjax.search import Training
from nasjax.spaces import darts

ETA, BATCHES, WEIGHTS, ALPHAS = 0.1, 4, 5, 3
WAYS = pytest.mark.parametrize("differences", [False, True], ids=["exact", "eqs_14_15"])


def algorithm(differences, two_batches):
    config = harness.config()
    own = {"finite_difference": differences, "two_batches": two_batches, "eta": ETA}
    config.arch.amended.update(own, every=1, rate=0.5, weight_decay=0.0)
    return harness.composed("amended", config)


def quadratic():
    """L_b = w' H_b w / 2 + a' B_b w and L_val = v' w + c' a, and their arrays."""
    draws = np.random.default_rng(0)
    root = draws.normal(size=(BATCHES, WEIGHTS, WEIGHTS))
    batches = {
        "H": root @ root.swapaxes(1, 2),
        "B": draws.normal(size=(BATCHES, ALPHAS, WEIGHTS)),
    }
    v, c, w, a = (draws.normal(size=n) for n in (WEIGHTS, ALPHAS, WEIGHTS, ALPHAS))
    train = lambda w, a, b: w @ b["H"] @ w / 2 + a @ b["B"] @ w
    val = lambda w, a, batch: v @ w + c @ a
    return SimpleNamespace(train=train, val=val), batches, v, c, w, a


@WAYS
def test_the_mean_over_pairs_is_the_product_of_the_means(differences, float64):
    """With one batch for both the mean has the covariance of B and H as well."""
    problem, batches, v, c, w, a = quadratic()
    estimator = algorithm(differences, True).direction.estimator(problem)
    pairs = np.array([*itertools.product(range(BATCHES), repeat=2)])
    each = jax.jit(jax.vmap(lambda pair: estimator(w, a, pair, None).grad))
    found = each(jax.tree.map(lambda leaf: leaf[pairs], batches))
    H, B = batches["H"], batches["B"]
    expected = c - ETA * B.mean(0) @ H.mean(0) @ v
    np.testing.assert_allclose(found.mean(0), expected, rtol=1e-8)
    term = lambda i, j: np.einsum("naw,nwu,u->na", B[j], H[i], v)
    np.testing.assert_allclose(found, c - ETA * term(*pairs.T), rtol=1e-8)

    one = algorithm(differences, False).direction.estimator(problem)
    alone = jax.jit(jax.vmap(lambda batch: one(w, a, batch, None).grad))(batches)
    both = c - ETA * term(slice(None), slice(None))
    np.testing.assert_allclose(alone, both, rtol=1e-8)
    assert np.abs(both.mean(0) - expected).max() > 0.1 * np.abs(expected).max()
    assert one.cost == estimator.cost == 5


def searching(differences):
    """A search of the toy."""
    training = Training(
        lambda rate, clip=True: harness.optim.sgd(rate, 0.9, 0.0, 0.0),
        lambda step: 0.05, 2, 2, 0,
    )  # fmt: skip
    space = darts(("skip_connect", "dil_conv_3x3"))
    return harness.built(algorithm(differences, True), space, training)


def test_a_search_takes_h_of_its_first_batch_and_d_of_its_second(float64):
    search = searching(False)
    assert search.direction.inner_steps == 2 and search.direction.cost == 5
    problem, program = search.problem, search.program("alpha")
    data = jax.tree.map(jnp.asarray, harness.halves())

    @jax.jit
    def both(key):
        state = search.init(key)
        pair, val = program.batches.draw(problem.task, data, state)
        # A softmax has no randomness, so the keys of the mixes do not matter.
        place = lambda batch: problem.placed(batch, state, key)
        h, d = (place(jax.tree.map(lambda leaf, i=i: leaf[i], pair)) for i in (0, 1))
        at = state.w, state.arch
        v, direct = jax.grad(problem.val, (0, 1))(*at, place(val))
        x = hvp(problem.train, *at, h, v)
        term = mixed_vjp(problem.train, *at, d, x)
        grad = jax.tree.map(lambda g, t: g - ETA * t, direct, term)
        norm = lambda tree: jnp.sqrt(sum(jnp.sum(x**2) for x in jax.tree.leaves(tree)))
        metrics = program.step(state, pair, val)[1]
        swapped = jax.tree.map(lambda leaf: leaf[::-1], pair)
        other = program.step(state, swapped, val)[1]
        return norm(grad), metrics["hypergrad_norm"], other["hypergrad_norm"]

    expected, found, other = both(jax.random.key(0))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert abs(other - expected) > 1e-2 * expected


def test_the_log_names_it():
    assert searching(False).name == "implicit_amended_two_batches"
    assert searching(True).name == "amended_finite_difference_two_batches"
