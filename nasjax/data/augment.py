"""Batches and augmentation as pure functions of keys, for use inside a jitted step.

All randomness of an example comes from the key of the example. Splitting a batch over
devices or repeating a step therefore changes no pixel.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.core.errors import UserError

NORMALISATION: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": (
        (0.49139968, 0.48215827, 0.44653124),
        (0.24703233, 0.24348505, 0.26158768),
    ),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
}
"""Name -> (mean, standard deviation) per channel of pixels in [0, 1], as in the code of
DARTS, and of R-DARTS for CIFAR-100 and SVHN."""


class Augment(NamedTuple):
    """The settings of `prepare`. Hashable: close over it or make it static.

    Attributes:
        pad: black pixels added on each side before a random crop to the old size.
        flip: True mirrors left and right with probability 1/2.
        cutout: side in pixels of the square set to 0; 0: no cutout.
        mean: mean of pixels / 255, one number per channel.
        std: standard deviation of pixels / 255, one number per channel.
    """

    pad: int = 0
    flip: bool = False
    cutout: int = 0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


def statistics(image: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of uint8 [N, H, W, C], over 255.

    The standard deviation is at least one grey level, 1 / 255. An (almost) constant
    channel is therefore never divided by zero.
    """
    # Integer sums are exact and need no float copy of the data set.
    count = image.size // image.shape[-1]
    square = np.square(image, dtype=np.uint16)
    mean = image.sum((0, 1, 2), dtype=np.int64) / count
    variance = square.sum((0, 1, 2), dtype=np.int64) / count - mean**2
    std = np.sqrt(np.maximum(variance, 1.0))
    return tuple((mean / 255).tolist()), tuple((std / 255).tolist())


def check_augment(augment: Augment, shape: tuple[int, ...]) -> None:
    """Refuses settings that do not fit images of `shape` [..., H, W, C].

    Raises:
        UserError: a setting is negative, useless or of another number of channels.
    """
    height, width, channels = shape[-3:]
    size = min(height, width)
    for name, given, most in (
        ("crop padding", augment.pad, size),
        ("cutout", augment.cutout, 2 * size - 1),  # more always covers the image
    ):
        if not 0 <= given <= most:
            raise UserError(
                f"The {name} is {given} pixels on {height}x{width} images; expected "
                f"0 (none) to {most}."
            )
    if not len(augment.mean) == len(augment.std) == channels:
        raise UserError(
            f"The normalisation has {len(augment.mean)} mean(s) and "
            f"{len(augment.std)} standard deviation(s) but the images have {channels} "
            "channel(s); give one of each for each channel."
        )
    if not (np.isfinite(augment.mean).all() and np.isfinite(augment.std).all()) or (
        min(augment.std) <= 0
    ):
        raise UserError(
            f"The normalisation is mean {augment.mean}, standard deviation "
            f"{augment.std}; expected finite numbers, the latter above 0."
        )


def prepare(
    images: jax.Array,
    keys: jax.Array | None,
    augment: Augment,
    cutout_prob: float | jax.Array = 1.0,
) -> jax.Array:
    """Turns stored images into the input of a network.

    The order is: pad with black, crop, flip, scale to [0, 1], normalise, cut out. So
    padding is black before the normalisation. Cutout is 0 after it, which is the mean
    colour. The square is centred at any pixel and clipped at the borders.

    Args:
        images: uint8 [B, H, W, C].
        keys: typed PRNG keys [B], one for each example; None for evaluation, which
            only scales and normalises.
        augment: the settings.
        cutout_prob: probability of applying cutout; may be traced.

    Returns:
        float32 [B, H, W, C].

    Raises:
        UserError: see `check_augment`; or the images are not uint8.

    Source: DARTS, `cnn/utils.py`; T. DeVries and G. W. Taylor, "Improved
    Regularization of Convolutional Neural Networks with Cutout", 2017. An odd
    cutout has its full side here; the code of DARTS rounds it down to an even one.
    """
    if images.dtype != jnp.uint8:
        raise UserError(f"Images are {images.dtype}; expected uint8 in 0..255.")
    check_augment(augment, images.shape)
    if keys is None:
        return _normalise(images, augment)
    # One key for each kind of change, used or not: switching one off does not change
    # the others.
    crop, flip, cut = jnp.unstack(
        jax.vmap(lambda key: jax.random.split(key, 3))(keys), axis=1
    )
    if augment.pad:
        images = jax.vmap(lambda x, key: _crop(x, key, augment.pad))(images, crop)
    if augment.flip:
        mirrored = jax.vmap(jax.random.bernoulli)(flip)[:, None, None, None]
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    output = _normalise(images, augment)
    if augment.cutout:
        _, height, width, _ = images.shape
        hole = jax.vmap(
            lambda key: _hole(key, (height, width), augment.cutout, cutout_prob)
        )(cut)
        output = jnp.where(hole[..., None], 0.0, output)
    return output


def epoch_indices(
    key: jax.Array, step: int | jax.Array, batch: int, n: int
) -> jax.Array:
    """The indices of the examples of step `step`, in epoch order: int32 [batch].

    Each epoch of `n // batch` steps takes the batches of a new permutation and drops
    the last incomplete batch. `step` may be traced.

    Raises:
        UserError: `batch` is not within 1 .. n.
    """
    _check_batch(batch, n)
    epoch, position = step // (n // batch), step % (n // batch)
    order = jax.random.permutation(jax.random.fold_in(key, epoch), n)
    return jax.lax.dynamic_slice(order, (position * batch,), (batch,))


def random_indices(key: jax.Array, batch: int, n: int) -> jax.Array:
    """The indices of `batch` different examples out of `n`, at random: int32 [batch].

    Raises:
        UserError: `batch` is not within 1 .. n.
    """
    _check_batch(batch, n)
    return jax.random.choice(key, n, (batch,), replace=False)


def _check_batch(batch: int, n: int) -> None:
    if not 1 <= batch <= n:
        raise UserError(
            f"The batch size is {batch} but the part it is drawn from has {n} "
            f"image(s); give a batch size from 1 to {n}."
        )


def _normalise(images: jax.Array, augment: Augment) -> jax.Array:
    # (x / 255 - mean) / std as one subtraction and one product by constants: otherwise
    # fusion, and with it the last bit, depends on the shape.
    centre = np.asarray(augment.mean, np.float64) * 255
    scale = 1 / (np.asarray(augment.std, np.float64) * 255)
    centred = images.astype(jnp.float32) - jnp.float32(centre).reshape(1, 1, 1, -1)
    return centred * jnp.float32(scale).reshape(1, 1, 1, -1)


def _crop(image: jax.Array, key: jax.Array, pad: int) -> jax.Array:
    """A random window of size [H, W, C] from `image` [H, W, C] padded with black."""
    padded = jnp.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    row, column = jax.random.randint(key, (2,), 0, 2 * pad + 1)
    return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


def _hole(
    key: jax.Array, size: tuple[int, int], side: int, prob: float | jax.Array
) -> jax.Array:
    """The mask of cutout, bool [H, W]."""
    centre, chance = jax.random.split(key)
    row, column = jax.random.randint(centre, (2,), 0, jnp.asarray(size))
    inside = [
        (jnp.arange(length) >= middle - side // 2)
        & (jnp.arange(length) < middle - side // 2 + side)
        for length, middle in zip(size, (row, column), strict=True)
    ]
    applies = jax.random.uniform(chance) < prob
    return inside[0][:, None] & inside[1][None, :] & applies
