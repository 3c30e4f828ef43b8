"""Labelled images in memory, and the checks that arrays from any source have to pass."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nasjax.core.errors import UserError
from nasjax.data.labels import indexed


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
        file: the .npz file, or the .npy file of the images; "" for arrays that never
            were in a file.
        labels: the .npy file of the labels.
    """

    text: str
    file: str = ""
    labels: str = ""

    def rewrite(self, name: str, change: str) -> str:
        """The words that tell to replace array `name` by `name.change`."""
        if not self.file:
            return f"give {name}.{change}."
        old = Path(self.file)
        new = str(old.with_name(f"{old.stem}_fixed.npz"))
        read = f"dict(np.load({self.file!r}))"
        if self.labels:
            read = f"dict(image=np.load({self.file!r}), label=np.load({self.labels!r}))"
        code = (
            f"import numpy as np; d = {read}; "
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
        label: [N] or [N, 1], see `nasjax.data.labels.indexed`.
        classes: for test data, the classes of the training data, to which all labels
            must belong.
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
    image = pixels(image, where, origin)
    where = f"'label' {origin.text}"
    if label.shape == (len(image), 1):
        label = label[:, 0]
    if label.ndim == 2 and len(label) == len(image):
        raise UserError(
            f"{where} has shape {label.shape}, probably one-hot; expected "
            f"[{len(image)}], one label for each image: "
            + origin.rewrite("label", "argmax(1)")
        )
    if label.shape != (len(image),):
        raise UserError(
            f"{where} has shape {label.shape} for {len(image)} image(s); expected "
            f"[{len(image)}], one label for each image."
        )
    whole = origin.rewrite("label", "astype(int)")
    return Arrays(image, *indexed(label, classes, where, whole))


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


def pixels(image: np.ndarray, where: str, origin: Origin) -> np.ndarray:
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
