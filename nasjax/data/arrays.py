"""Labelled images in memory, and the checks that arrays from any source have to pass."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nasjax.core.errors import UserError


class Arrays(NamedTuple):
    """Labelled images in memory.

    Attributes:
        image: uint8 [N, H, W, C].
        label: int32 [N], in 0 .. len(classes) - 1.
        classes: the name of each class.
        notes: sentences on conversions that lost something.
    """

    image: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


class Origin(NamedTuple):
    """The place of an array, for error messages.

    Attributes:
        text: such as "in 'mine.npz'".
        file: the .npz file, or "" for arrays that never were in a file.
    """

    text: str
    file: str = ""

    def rewrite(self, name: str, change: str) -> str:
        """The words that tell to replace array `name` by `name.change`."""
        if not self.file:
            return f"give {name}.{change}."
        old = Path(self.file)
        new = str(old.with_name(f"{old.stem}_fixed.npz"))
        code = (
            f"import numpy as np; d = dict(np.load({self.file!r})); "
            f"d[{name!r}] = d[{name!r}].{change}; np.savez({new!r}, **d)"
        )
        return f"type python -c {shlex.quote(code)} to write it so to {new}."


def checked(
    image: np.ndarray,
    label: np.ndarray,
    classes: tuple[str, ...] | None,
    origin: Origin,
) -> Arrays:
    """Images and labels as `Arrays`.

    Args:
        image: [N, H, W] or [N, H, W, C], uint8 or float in [0, 1]. Floats are stored as
            uint8 by rounding 255 * image, which loses finer steps.
        label: [N], integers or strings. Strings are the names of the classes, which are
            sorted.
        classes: for test data, the classes of the training data, to which all labels
            must belong. By default the classes are inferred, and each of the integers
            0 .. K - 1 must occur.
        origin: the place of the arrays.

    Raises:
        UserError: an array has another shape, type or content.
    """
    where = f"'image' {origin.text}"
    if image.ndim == 4 and label.shape == image.shape[-1:] != image.shape[:1]:
        raise UserError(
            f"{where} has shape {list(image.shape)} for {len(label)} labels, so its "
            "examples are on the last axis; expected [N, height, width, channels]: "
            + origin.rewrite("image", "transpose(3, 0, 1, 2)")
        )
    image = _pixels(image, where, origin)
    where = f"'label' {origin.text}"
    if label.shape != (len(image),):
        raise UserError(
            f"{where} has shape {label.shape} for {len(image)} image(s); expected "
            f"[{len(image)}], one label for each image."
        )
    if label.dtype.kind in "US":
        return Arrays(image, *_named(label, classes, where))
    index = _numbered(label, classes, where)
    return Arrays(image, index, classes or tuple(map(str, range(index.max() + 1))))


def channels_first(shape: tuple[int, ...]) -> bool:
    """True if images of `shape` [N, A, B, C] are certainly [N, channels, height, width].

    A has to be smaller than B and C. It also has to be a number of channels (1 to 4)
    with C above any, or with square images; or be at most half of a square's side. A
    strip such as [N, 4, 32, 3] is therefore read as it is.

    >>> channels_first((20, 4, 32, 32)), channels_first((20, 4, 32, 3))
    (True, False)
    """
    _, first, height, width = shape
    if first >= min(height, width):
        return False
    if first <= 4:
        return width > 4 or height == width
    return height == width and 2 * first <= width


def describe(pixels: np.ndarray) -> str:
    """The size of an image [H, W, C] in words."""
    height, width, channels = pixels.shape
    return f"{height}x{width} with {channels} channel(s)"


def smaller(data: Arrays, factor: int) -> Arrays:
    """Images in which every square of factor x factor pixels is replaced by its mean.

    Raises:
        UserError: the sides are not multiples of the factor.
    """
    if factor == 1:
        return data
    count, height, width, channels = data.image.shape
    if height % factor or width % factor:
        raise UserError(
            f"Images of {height}x{width} pixels cannot be made {factor} times smaller; "
            "set --config.data.shrink to a factor of both sides."
        )
    shape = count, height // factor, factor, width // factor, factor, channels
    means = data.image.reshape(shape).mean((2, 4))
    return data._replace(image=np.rint(means).astype(np.uint8))


def resized(pixels: np.ndarray, side: int, crop: bool) -> np.ndarray:
    """An image uint8 [H, W, C] as a square [side, side, C]; with side 0 unchanged.

    Pixels are averaged with the antialiased bilinear filter of Pillow.

    Args:
        pixels: the image.
        side: in pixels.
        crop: True keeps the largest square in the middle; False stretches the image.
    """
    if not side or pixels.shape[:2] == (side, side):
        return pixels
    from PIL import Image  # comes with matplotlib

    height, width, _ = pixels.shape
    if crop:
        least = min(height, width)
        top, left = (height - least) // 2, (width - least) // 2
        pixels = pixels[top : top + least, left : left + least]
    planes = [
        Image.fromarray(np.ascontiguousarray(plane)).resize(
            (side, side), Image.Resampling.BILINEAR
        )
        for plane in np.moveaxis(pixels, -1, 0)
    ]
    return np.stack([np.asarray(plane) for plane in planes], -1)


def _pixels(image: np.ndarray, where: str, origin: Origin) -> np.ndarray:
    """`image` as uint8 [N, H, W, C], or a UserError."""
    if image.ndim not in (3, 4) or 0 in image.shape:
        raise UserError(
            f"{where} has shape {image.shape}; expected [N, height, width] or "
            "[N, height, width, channels], and at least one image."
        )
    if image.ndim == 3:
        image = image[..., None]
    elif channels_first(image.shape):
        raise UserError(
            f"{where} has shape {list(image.shape)}, probably channels first; expected "
            "[N, height, width, channels]: "
            + origin.rewrite("image", "transpose(0, 2, 3, 1)")
        )
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind != "f":
        raise UserError(
            f"{where} is {image.dtype}; expected uint8 in 0..255 or float in [0, 1]."
        )
    if np.isnan(image).any():
        raise UserError(f"{where} contains NaN; expected floats in [0, 1].")
    if image.min() < 0 or image.max() > 1:
        raise UserError(
            f"{where} is {image.dtype} from {image.min():g} to {image.max():g}; "
            "expected floats in [0, 1], or uint8 in 0..255: scale or convert it."
        )
    return np.rint(image * 255).astype(np.uint8)


def _named(
    label: np.ndarray, classes: tuple[str, ...] | None, where: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels that are strings as int32 [N], and the names of the classes."""
    if label.dtype.kind == "S":
        label = np.char.decode(label, "utf-8", "replace")
    names, index = np.unique(label, return_inverse=True)
    own = tuple(map(str, names))
    if classes is None:
        if len(own) < 2:
            raise UserError(f"{where} has one class only; expected at least two.")
        return index.astype(np.int32), own
    for name in own:
        if name not in classes:
            raise UserError(
                f"{where} contains '{name}', which is not a class of the training data; "
                f"expected labels among {', '.join(classes[:20])}."
            )
    place = np.array([classes.index(name) for name in own], np.int32)
    return place[index], classes


def _numbered(
    label: np.ndarray, classes: tuple[str, ...] | None, where: str
) -> np.ndarray:
    """Labels that are integers as int32 [N], or a UserError."""
    if label.dtype.kind not in "iu":
        raise UserError(
            f"{where} is {label.dtype}; expected integers from 0, or strings."
        )
    if label.min() < 0:
        raise UserError(
            f"{where} contains {label.min()}; expected classes numbered from 0."
        )
    if classes is not None:
        if label.max() >= len(classes):
            raise UserError(
                f"{where} contains {label.max()}, outside the {len(classes)} classes of "
                f"the training data; expected labels 0 to {len(classes) - 1}."
            )
        if classes != tuple(map(str, range(len(classes)))):
            raise UserError(
                f"{where} is {label.dtype}, but the classes of the training data have "
                f"names; expected strings such as '{classes[0]}'."
            )
        return label.astype(np.int32)
    present = np.unique(label)
    if len(present) < 2:
        raise UserError(f"{where} has one class only; expected at least two.")
    if len(present) != int(present[-1]) + 1:
        absent = np.flatnonzero(present != np.arange(len(present)))[0]
        raise UserError(
            f"{where} goes to {present[-1]} but no label is {absent}; expected every "
            "class 0..K-1 to occur: number the classes from 0 without gaps."
        )
    return label.astype(np.int32)
