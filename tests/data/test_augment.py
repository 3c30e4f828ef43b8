"""Augmentation against windows, mirrors and squares enumerated in numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.core.errors import UserError
from nasjax.data.augment import (
    NORMALISATION,
    Augment,
    check_augment,
    epoch_indices,
    prepare,
    random_indices,
    statistics,
)

DRAWS = 4000


def keys(count, seed=0):
    key = jax.random.key(seed)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(count))


def near(frequency, probability, draws=DRAWS):
    """Within 5 standard deviations of a binomial."""
    spread = 5 * np.sqrt(probability * (1 - probability) / draws)
    return np.all(np.abs(frequency - probability) < spread)


def copies(image, augment, count=DRAWS, seed=0):
    """`count` augmentations of one image, each with its own key."""
    images = np.broadcast_to(image, (count, *image.shape))
    step = jax.jit(lambda images, keys: prepare(images, keys, augment))
    return np.asarray(step(images, keys(count, seed)))


def test_crop_and_flip_are_all_windows_and_mirrors_equally_often():
    image = np.arange(1, 31, dtype=np.uint8).reshape(5, 6, 1)  # all pixels differ
    found = np.rint(copies(image, Augment(pad=2, flip=True)) * 255).astype(np.uint8)
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
    counts = []
    for row in range(5):
        for column in range(5):
            window = padded[row : row + 5, column : column + 6]
            for candidate in (window, window[:, ::-1]):
                counts.append((found == candidate).all((1, 2, 3)).sum())
    assert sum(counts) == DRAWS
    assert near(np.array(counts) / DRAWS, 1 / 50)


def test_without_options_only_scaling_and_normalisation():
    image = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 2), np.uint8)
    augment = Augment(mean=(0.25, 0.5), std=(0.5, 2.0))
    expected = (image / 255 - [0.25, 0.5]) / [0.5, 2.0]
    for given in (None, keys(3)):
        output = prepare(jnp.asarray(image), given, augment)
        assert output.dtype == jnp.float32
        np.testing.assert_allclose(output, expected, atol=1e-6)


def test_evaluation_ignores_the_options():
    image = jnp.asarray(
        np.random.default_rng(0).integers(0, 256, (2, 8, 8, 1), np.uint8)
    )
    everything = prepare(image, None, Augment(4, True, 4, (0.5,), (0.1,)))
    np.testing.assert_array_equal(
        everything, prepare(image, None, Augment(mean=(0.5,), std=(0.1,)))
    )


def test_padding_is_black_before_and_cutout_zero_after_normalisation():
    image = np.full((4, 4, 1), 255, np.uint8)
    augment = Augment(pad=2, cutout=2, mean=(0.5,), std=(0.25,))
    # White is (1 - .5) / .25, black -.5 / .25, and a hole neither.
    found = np.unique(copies(image, augment))
    np.testing.assert_allclose(found, [-2, 0, 2], rtol=1e-6)


@pytest.mark.parametrize("side", [1, 4, 5])
def test_cutout_is_a_clipped_square_around_any_pixel(side):
    height, width = 6, 8
    holes = copies(np.full((height, width, 1), 255, np.uint8), Augment(cutout=side))
    holes = holes[..., 0] == 0
    expected = {}
    for row in range(height):
        for column in range(width):
            hole = np.zeros((height, width), bool)
            top, left = row - side // 2, column - side // 2
            hole[max(top, 0) : top + side, max(left, 0) : left + side] = True
            expected[hole.tobytes()] = expected.get(hole.tobytes(), 0) + 1
    found = [hole.tobytes() for hole in holes]
    assert set(found) == set(expected)
    for hole, ways in expected.items():
        assert near(found.count(hole) / DRAWS, ways / (height * width))


def test_cutout_probability_may_be_traced():
    image = jnp.full((DRAWS, 4, 4, 1), 255, jnp.uint8)

    @jax.jit
    def share(probability):
        output = prepare(image, keys(DRAWS), Augment(cutout=3), probability)
        return jnp.mean((output == 0).any((1, 2, 3)))

    assert share(0.0) == 0 and share(1.0) == 1
    assert near(share(0.3), 0.3)


def test_an_example_depends_on_its_own_key_alone():
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)
    augment = Augment(2, True, 4, *NORMALISATION["cifar10"])
    step = jax.jit(lambda images, keys: prepare(images, keys, augment))
    whole, given = step(images, keys(12)), keys(12)
    for size in (1, 3, 4):
        parts = [step(images[i : i + size], given[i : i + size])
                 for i in range(0, 12, size)]  # fmt: skip
        np.testing.assert_array_equal(whole, jnp.concatenate(parts))
    order = np.random.default_rng(1).permutation(12)
    np.testing.assert_array_equal(whole[order], step(images[order], given[order]))
    # Under vmap, as for the candidates of a zero-order step.
    stacked = jax.vmap(step)(images.reshape(3, 4, 8, 8, 3), given.reshape(3, 4))
    np.testing.assert_array_equal(whole, stacked.reshape(whole.shape))
    assert (whole != step(images, keys(12, seed=1))).any()


def test_one_option_does_not_move_the_others():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    plain = copies(image, Augment(pad=2), 50)
    flipped = copies(image, Augment(pad=2, flip=True), 50)
    mirrored = (flipped != plain).any((1, 2, 3))
    np.testing.assert_array_equal(flipped[mirrored], plain[mirrored][:, :, ::-1])


def test_statistics():
    image = np.random.default_rng(0).integers(0, 256, (50, 9, 7, 3), np.uint8)
    image[..., 2] = 51  # a constant channel: one grey level instead of 0
    mean, std = statistics(image)
    np.testing.assert_allclose(mean, (image / 255).mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(std[:2], (image / 255).std((0, 1, 2))[:2], rtol=1e-9)
    assert std[2] == pytest.approx(1 / 255)
    output = prepare(jnp.asarray(image), None, Augment(mean=mean, std=std))
    np.testing.assert_allclose(output.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(output.std((0, 1, 2)), [1, 1, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("augment", "expected"),
    [
        (Augment(pad=-1), "crop padding is -1"),
        (Augment(pad=9), "crop padding is 9"),
        (Augment(cutout=-2), "cutout is -2"),
        (Augment(cutout=16), "cutout is 16"),
        (Augment(mean=(0.0, 0.0)), r"2 mean\(s\)"),
        (Augment(std=(0.0,)), "above 0"),
        (Augment(mean=(float("nan"),)), "finite"),
    ],
)
def test_settings_refused(augment, expected):
    with pytest.raises(UserError, match=expected):
        check_augment(augment, (8, 8, 1))
    with pytest.raises(UserError, match=expected):
        prepare(jnp.zeros((2, 8, 8, 1), jnp.uint8), None, augment)


def test_images_that_are_not_uint8_refused():
    with pytest.raises(UserError, match="float32"):
        prepare(jnp.zeros((2, 8, 8, 1)), None, Augment())


def test_epochs_are_permutations_without_their_remainder():
    step = jax.jit(lambda step: epoch_indices(jax.random.key(0), step, 3, 11))
    epochs = np.array([step(i) for i in range(30)]).reshape(10, 9)
    assert epochs.min() == 0 and epochs.max() == 10
    for epoch in epochs:
        assert len(set(epoch)) == 9
    assert len({tuple(epoch) for epoch in epochs}) == 10  # a new order each time
    assert len({frozenset(epoch) for epoch in epochs}) > 1  # and another remainder
    # A Python step outside jit draws the same.
    np.testing.assert_array_equal(
        epochs[4, 3:6], epoch_indices(jax.random.key(0), 13, 3, 11)
    )


def test_random_indices_are_distinct_and_uniform():
    drawn = np.asarray(
        jax.jit(jax.vmap(lambda k: random_indices(k, 3, 7)))(keys(DRAWS))
    )
    assert all(len(set(row)) == 3 for row in drawn)
    assert near(np.bincount(drawn.ravel(), minlength=7) / DRAWS, 3 / 7)


@pytest.mark.parametrize("batch", [0, 12])
def test_batch_size_refused(batch):
    with pytest.raises(UserError, match=f"batch size is {batch}"):
        epoch_indices(jax.random.key(0), 0, batch, 11)
    with pytest.raises(UserError, match="from 1 to 11"):
        random_indices(jax.random.key(0), batch, 11)
