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
@pytest.mark.parametrize("ascent", saliency.ASCENTS)
@pytest.mark.parametrize("target", saliency.TARGETS)
def test_it_stays_in_the_ball_and_a_pixel(name, eps, ascent, target):
    mean, std = NORMALISATIONS[name]
    x, attack = images(mean, std), Attack(7, eps, eps / 4, mean, std, ascent, target)
    for delta in (
        saliency.start(x, keys(), attack),
        saliency.find(network, x, keys(), attack, jnp.arange(5) % 4),
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


@pytest.mark.parametrize("ascent", saliency.ASCENTS)
@pytest.mark.parametrize("target", saliency.TARGETS)
def test_it_raises_the_divergence_from_its_target(ascent, target):
    x, label = images(*NORMALISATIONS["pixels"]), jnp.arange(5) % 4
    attack = Attack(ascent=ascent, target=target)
    aim = saliency.target(network(x), attack, label)
    loss = lambda delta: float(saliency.divergence(network(x + delta), aim))
    found = saliency.find(network, x, keys(), attack, label)
    begun = saliency.start(x, keys(), attack)
    assert loss(found) > loss(begun) + 1e-3 > loss(0 * x)


def test_targets():
    scores, label = jnp.array([[2.0, 1.0, 0.0]]), jnp.array([2])
    at = lambda name: saliency.target(scores, Attack(target=name), label)
    np.testing.assert_array_equal(at("soft"), jax.nn.softmax(scores))
    np.testing.assert_array_equal(at("predicted"), [[1, 0, 0]])
    np.testing.assert_array_equal(at("label"), [[0, 0, 1]])
    with pytest.raises(ValueError, match="label is None; give the labels, or the"):
        saliency.target(scores, Attack(target="label"))
    with pytest.raises(ValueError, match="target is 'hard'; expected 'predicted' or"):
        saliency.target(scores, Attack(target="hard"))


def test_eq_2_by_hand(float64):
    """Two steps with a rate of each image, on logits that are linear in the pixels."""
    w = np.random.default_rng(2).normal(size=(48, 4))
    linear = lambda x: x.reshape(len(x), -1) @ jnp.asarray(w)
    x = 0.3 + 0.4 * np.random.default_rng(3).random((5, 4, 4, 3))
    attack = Attack(2, 0.2, 0.01)
    aim = np.eye(4)[np.argmax(linear(x), -1)]
    delta = 0 * x
    for _ in range(2):
        g = ((jax.nn.softmax(linear(x + delta)) - aim) @ w.T).reshape(x.shape)
        delta = delta + 0.01 * g / abs(g).mean((1, 2, 3), keepdims=True)
    assert abs(delta).max() < 0.2
    found = saliency.find(linear, jnp.asarray(x), keys(), attack)
    np.testing.assert_allclose(found, delta, rtol=1e-9)
    given = attack._replace(steps=1, rate=0.7)
    g = ((jax.nn.softmax(linear(x)) - aim) @ w.T).reshape(x.shape)
    found = saliency.find(linear, jnp.asarray(x), keys(), given)
    np.testing.assert_allclose(found, np.clip(0.7 * g, -0.2, 0.2), rtol=1e-9)


def test_a_soft_target_flips_delta_and_a_class_does_not(float64):
    """Two starts of "soft" end at delta and at about -delta for some images; the start
    of "predicted" is no draw."""
    x = images(*NORMALISATIONS["pixels"]).astype(float)
    found = {
        name: [
            saliency.find(
                network,
                x,
                jax.random.split(jax.random.key(seed), 5),
                Attack(target=name),
            )
            for seed in range(4)
        ]
        for name in ("soft", "predicted")
    }
    first, *others = found["soft"]
    cosines = np.array([(first * other).sum((1, 2, 3)) for other in others])
    assert (cosines < 0).any() and (cosines > 0).any()
    for other in found["predicted"][1:]:
        np.testing.assert_array_equal(other, found["predicted"][0])


def test_a_soft_target_has_no_slope_at_zero(float64):
    """From delta = 0 there is no ascent; therefore delta starts at random."""
    x = images(*NORMALISATIONS["pixels"]).astype(float)
    target = jax.nn.softmax(network(x))
    slope = jax.grad(lambda delta: saliency.divergence(network(x + delta), target))
    assert abs(slope(0 * x)).max() < 1e-15
    for ascent, radius in (("pgd", 8 / 255), ("gradient", 0.2 / 255)):
        begun = saliency.start(x, keys(), Attack(ascent=ascent, target="soft"))
        assert 0.9 * radius < abs(begun).max() <= radius
        assert abs(slope(begun)).max() > 1e-6
        soft = Attack(ascent=ascent, target="soft", rate=1.0)
        given = saliency.find(network, x, keys(), soft, first=begun)
        np.testing.assert_array_equal(given, saliency.find(network, x, keys(), soft))
        still = saliency.find(network, x, keys(), soft, first=0 * x)
        assert abs(still - given).max() > 1e-6, (
            "the first delta is the one that is given"
        )
    assert not saliency.start(x, keys(), Attack()).any()


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
