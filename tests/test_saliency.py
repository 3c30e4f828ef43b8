"""Saliency by attack: its ball, its pixels, its start, and its results on networks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import saliency
from nasjax.data.augment import Augment, prepare
from nasjax.saliency import Attack

NORMALISATIONS = {
    "pixels": ((0.0,) * 3, (1.0,) * 3),
    "cifar": ((0.49, 0.48, 0.45), (0.247, 0.243, 0.262)),
    "odd": ((0.9, 0.0, -1.0), (0.01, 3.0, 1.0)),
}


def images(mean, std, count=5):
    """Normalised images with many black and white pixels."""
    draws = np.random.default_rng(0).integers(-100, 356, (count, 4, 4, 3))
    augment = Augment(mean=mean, std=std)
    return prepare(jnp.uint8(draws.clip(0, 255)), None, augment)


def keys(count=5):
    return jax.random.split(jax.random.key(3), count)


def network(x):
    """Logits [B, 4], smooth in the pixels at any scale of the pixels."""
    w = jnp.asarray(np.random.default_rng(1).normal(size=(48, 4)), x.dtype)
    return jnp.sin(x.reshape(len(x), -1)) @ w


@pytest.mark.parametrize("name", NORMALISATIONS)
@pytest.mark.parametrize("eps", [8 / 255, 0.4])
@pytest.mark.parametrize("label", [None, jnp.arange(5) % 4])
def test_it_stays_in_the_ball_and_a_pixel(name, eps, label):
    mean, std = NORMALISATIONS[name]
    x, attack = images(mean, std), Attack(7, eps, eps / 4, mean, std)
    for delta in (
        saliency.start(x, keys(), attack),
        saliency.find(network, x, keys(), attack, label),
    ):
        assert delta.shape == x.shape
        assert abs(delta).max() <= eps
        scale, shift = (jnp.array(each).reshape(1, 1, 1, 3) for each in (std, mean))
        pixels = saliency.perturbed(x, delta, attack) * scale + shift
        assert pixels.min() >= -1e-6 and pixels.max() <= 1 + 1e-6
    at_border = jnp.isclose(abs(delta), eps)
    assert at_border.any(), "the attack goes to the border"


def test_eps_is_in_pixels_whatever_the_normalisation():
    """The same attack on the same function of the pixels finds the same delta."""
    found = {}
    for name, (mean, std) in NORMALISATIONS.items():
        scale = jnp.array(std).reshape(1, 1, 1, 3)
        shift = jnp.array(mean).reshape(1, 1, 1, 3)

        def of_pixels(x, scale=scale, shift=shift):
            return network(x * scale + shift)

        x, attack = images(mean, std), Attack(mean=mean, std=std)
        found[name] = saliency.find(of_pixels, x, keys(), attack)
    for name in ("cifar", "odd"):
        close = abs(found[name] - found["pixels"]) < 1e-5
        assert close.mean() > 0.97, "except where rounding flips the sign of a gradient"


def test_an_image_is_attacked_alone_and_by_its_own_key():
    x, attack = images(*NORMALISATIONS["pixels"]), Attack()
    together = saliency.find(network, x, keys(), attack)
    alone = saliency.find(network, x[2:3], keys()[2:3], attack)
    np.testing.assert_allclose(together[2:3], alone, atol=1e-6)


def test_it_raises_the_divergence_and_with_labels_the_loss():
    x, label = images(*NORMALISATIONS["pixels"]), jnp.arange(5) % 4
    for given, target in (
        (None, jax.nn.softmax(network(x))),
        (label, jax.nn.one_hot(label, 4)),
    ):
        loss = lambda delta, t=target: float(saliency.divergence(network(x + delta), t))
        random = saliency.start(x, keys(), Attack())
        found = saliency.find(network, x, keys(), Attack(), given)
        assert loss(found) > loss(random) + 1e-3 > loss(0 * x)


def test_without_labels_the_gradient_at_zero_is_zero(float64):
    """From delta = 0 there is no ascent; therefore delta starts at random."""
    x = images(*NORMALISATIONS["pixels"]).astype(float)
    target = jax.nn.softmax(network(x))
    slope = jax.grad(lambda delta: saliency.divergence(network(x + delta), target))
    assert abs(slope(0 * x)).max() < 1e-15
    assert abs(slope(saliency.start(x, keys(), Attack()))).max() > 1e-4
    assert abs(saliency.start(x, keys(), Attack())).max() > 7 / 255


def test_modes():
    x = images(*NORMALISATIONS["cifar"])
    delta = jnp.linspace(-0.1, 0.1, x.size).reshape(x.shape)
    at = lambda mode: saliency.reweighted(x, delta, mode, 0.1)
    np.testing.assert_array_equal(at("signed"), delta * x)
    np.testing.assert_array_equal(at("absolute"), abs(delta) * x)
    np.testing.assert_allclose(at("scaled"), abs(delta) / 0.1 * x, rtol=1e-6)
    with pytest.raises(ValueError, match="mode is 'square'; expected 'signed' or"):
        at("square")


def test_gradients_explain_a_linear_network_exactly():
    """The gradient is w; integrated gradients sum to the change of the logits from 0."""
    w = np.random.default_rng(4).normal(size=(48, 4))
    linear = lambda x: x.reshape(len(x), -1) @ jnp.asarray(w, x.dtype)
    x, label = images(*NORMALISATIONS["pixels"]), jnp.arange(5) % 4
    slope = saliency.gradient_saliency(linear, x, label)
    np.testing.assert_allclose(slope.reshape(5, 48), w.T[label], rtol=1e-5)
    curved = lambda x: jnp.tanh(linear(x) / 10)
    parts = saliency.integrated_gradients(curved, x, label, steps=64)
    ends = curved(x) - curved(0 * x)
    np.testing.assert_allclose(
        parts.sum((1, 2, 3)), ends[jnp.arange(5), label], rtol=1e-3
    )
