"""Sentences about optimisers whose update has no derivative where a gradient is 0."""

import jax.numpy as jnp
import optax
import pytest

from nasjax.hypergrad import chain, check, descend, unrolled

RATE = 0.1
X = jnp.array([[1.0, 0.0], [2.0, 0.0], [0.5, 0.0]])


def train(w, a, batch):
    """Its gradient is exactly 0 at w[1], as for a feature that is always 0."""
    return jnp.exp(a) * jnp.mean((X @ w - 1) ** 2)


def flat(w, a, batch):
    """Its gradient is 0 at w = 0, where its derivatives are finite."""
    return jnp.exp(a) * jnp.sum(w**2)


def remarks(loss, optimizer, steps=1, w=(0.0, 0.0)):
    batches = jnp.zeros(steps) if steps > 1 else None
    estimator = unrolled(loss, lambda w, a, b: jnp.sum((w - 2) ** 2), optimizer, steps)
    at = jnp.array(w), 0.5, batches, None
    return " ".join(check(estimator, *at, steps=(1e-2, 1e-3), directions=1).remarks)


@pytest.mark.parametrize("name", ["adam", "nadam", "radam", "amsgrad", "lamb"])
def test_an_optimiser_with_a_root_is_named_and_eps_root(name):
    text = remarks(train, getattr(optax, name)(RATE), steps=3)
    assert "hypergradient is not finite at arch" in text
    assert "losses' gradients are finite up to step 1" in text
    assert "at w[1] the gradient is exactly 0" in text
    assert "eps_root above 0" in text and "not differentiable" not in text


def test_eps_root_is_the_cure():
    for name in ("adam", "nadam", "lamb"):
        text = remarks(train, getattr(optax, name)(RATE, eps_root=1e-8), steps=3)
        assert "not finite" not in text


WITHOUT_EPS_ROOT = {
    "clipped": optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(RATE)),
    "adaptively clipped": optax.chain(optax.adaptive_grad_clip(0.1), optax.sgd(RATE)),
    "novograd": optax.novograd(RATE),
    "rmsprop": optax.rmsprop(RATE, eps_in_sqrt=False),
    "schedule-free": optax.contrib.schedule_free_adamw(RATE),
}


@pytest.mark.parametrize("name", WITHOUT_EPS_ROOT)
def test_others_are_told_what_to_use_instead(name):
    text = remarks(flat, WITHOUT_EPS_ROOT[name], steps=2)
    assert "the optimiser's derivative is not" in text
    assert "such as optax.sgd with momentum" in text and "eps_root" not in text
    assert "optax.clip instead of clip_by_global_norm" in text


def test_the_level_of_a_chain_is_named():
    estimator = chain(
        [descend("w", lambda s, a, b: flat(s["w"], a, b), optax.adam(RATE))],
        lambda s, a, b: jnp.sum((s["w"] - 2) ** 2),
    )
    text = " ".join(check(estimator, {"w": jnp.zeros(2)}, 0.5, None, None).remarks)
    assert "finite up to level 'w'; the optimiser's derivative is not" in text


def test_a_loss_that_is_not_finite_is_blamed_itself():
    root = lambda w, a, b: a * jnp.sum(jnp.sqrt(w))
    text = remarks(root, optax.sgd(RATE))
    assert "gradient of train_loss is not finite at step 1" in text
    power = lambda w, a, b: a * jnp.sum(w**1.5)
    text = remarks(power, optax.sgd(RATE), steps=2)
    assert "a second derivative of a training loss is not" in text


def test_an_update_that_is_not_finite():
    text = remarks(train, optax.adam(RATE, eps=0.0))
    assert "update is not finite at w[1]" in text and "is its eps 0?" in text


@pytest.mark.parametrize("name", ["sign_sgd", "lion", "rprop"])
def test_an_update_that_ignores_the_size_of_the_gradient(name):
    text = remarks(train, getattr(optax, name)(RATE))
    assert "update at step 1 does not change with the gradient" in text
    assert "stop_gradient" not in text
