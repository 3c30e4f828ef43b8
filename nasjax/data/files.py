"""Labelled images from files: an `.npz` archive, or a folder of images.

Both are returned as the same checked `Arrays`. Size, channels and classes are inferred
from the data.
"""

from __future__ import annotations

import os
import zipfile
from typing import NamedTuple

import numpy as np

from nasjax.core.errors import UserError

_PILLOW_MODES = ("L", "RGB", "RGBA")


class Arrays(NamedTuple):
    """Labelled images in memory.

    Attributes:
        image: uint8 [N, H, W, C].
        label: int32 [N], in 0 .. len(classes) - 1.
        classes: the name of each class.
    """

    image: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...]


def npz(path: str, classes: tuple[str, ...] | None = None) -> Arrays:
    """Reads an `.npz` file with the arrays `image` and `label`; others are ignored.

    Args:
        path: the file. `image` is [N, H, W] or [N, H, W, C], uint8 or float in [0, 1].
            Floats are stored as uint8 by rounding 255 * image, which loses finer steps.
            `label` is [N], any integer type. Pickled objects are refused.
        classes: for test data, the classes of the training data, to which all labels
            must belong. By default the classes are inferred, and each of 0 .. K - 1
            must occur.

    Raises:
        UserError: the file is missing or unreadable, or has other contents.
    """
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise UserError(
                    f"Data file '{path}' is not an .npz archive, or is cut short; "
                    "write it with numpy.savez(path, image=..., label=...)."
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                found = {k: archive[k] for k in ("image", "label") if k in archive}
                held = ", ".join(archive) or "nothing"
    except UserError:
        raise
    except Exception as error:  # a damaged archive raises almost anything
        raise _unreadable("Data file", path, error) from error
    for key in ("image", "label"):
        # A member that is not in numpy's format is returned as bytes.
        if not isinstance(found.get(key), np.ndarray):
            raise UserError(
                f"Data file '{path}' has no array '{key}' (it holds {held}); "
                "write it with numpy.savez(path, image=..., label=...)."
            )
    image = _pixels(found["image"], path)
    label = _labels(found["label"], len(image), classes, path)
    if classes is None:
        classes = tuple(map(str, range(label.max() + 1)))
    return Arrays(image, label, classes)


def folder(path: str, classes: tuple[str, ...] | None = None) -> Arrays:
    """Reads a folder with one sub-folder of images for each class.

    Classes and images are sorted by name. Hidden entries, and files next to the
    sub-folders, are ignored. All images have the same size and the same mode: L
    (1 channel), RGB (3) or RGBA (4).

    Args:
        path: the folder.
        classes: for test data, the classes of the training data. Every sub-folder must
            be one of them. By default the sub-folders are the classes.

    Raises:
        UserError: the folder, or a file in it, has other contents.
    """
    names = [name for name in _entries(path) if os.path.isdir(f"{path}/{name}")]
    if len(names) < (2 if classes is None else 1):
        raise UserError(
            f"Data folder '{path}' has {len(names)} sub-folder(s); expected one "
            "sub-folder of images for each class"
            f"{', of at least two classes' if classes is None else ''}."
        )
    classes = tuple(names) if classes is None else classes
    images: list[np.ndarray] = []
    labels: list[int] = []
    first = ""
    for name in names:
        if name not in classes:
            raise UserError(
                f"Sub-folder '{name}' of '{path}' is not a class of the training data; "
                f"expected sub-folders among {', '.join(classes)}."
            )
        files = [f"{path}/{name}/{file}" for file in _entries(f"{path}/{name}")]
        if not files:
            raise UserError(
                f"Class folder '{path}/{name}' is empty; add its images or remove it."
            )
        for file in files:
            pixels = _decoded(file)
            first = first or file
            if images and pixels.shape != images[0].shape:
                raise UserError(
                    f"Image '{file}' is {describe(pixels)} but '{first}' is "
                    f"{describe(images[0])}; expected one size and one mode throughout."
                )
            images.append(pixels)
        labels += [classes.index(name)] * len(files)
    return Arrays(np.stack(images), np.asarray(labels, np.int32), classes)


def _pixels(image: np.ndarray, path: str) -> np.ndarray:
    """`image` as uint8 [N, H, W, C], or a UserError."""
    where = f"'image' in '{path}'"
    if image.ndim not in (3, 4) or 0 in image.shape:
        raise UserError(
            f"{where} has shape {image.shape}; expected [N, height, width] or "
            "[N, height, width, channels], and at least one image."
        )
    if image.ndim == 3:
        image = image[..., None]
    if image.shape[1] in (1, 3) and image.shape[2] == image.shape[3] > 4:
        raise UserError(
            f"{where} has shape {image.shape}, channels first; expected "
            "[N, height, width, channels]: write image.transpose(0, 2, 3, 1)."
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


def _labels(
    label: np.ndarray, count: int, classes: tuple[str, ...] | None, path: str
) -> np.ndarray:
    """`label` as int32 [count], or a UserError."""
    where = f"'label' in '{path}'"
    if label.dtype.kind not in "iu":
        raise UserError(f"{where} is {label.dtype}; expected integers from 0.")
    if label.shape != (count,):
        raise UserError(
            f"{where} has shape {label.shape} for {count} image(s); expected "
            f"[{count}], one label for each image."
        )
    present = np.unique(label)
    if present[0] < 0:
        raise UserError(f"{where} contains {present[0]}; expected integers from 0.")
    if classes is not None:
        if present[-1] >= len(classes):
            raise UserError(
                f"{where} contains {present[-1]}, outside the {len(classes)} classes "
                f"of the training data; expected 0..{len(classes) - 1}."
            )
    elif len(present) == 1:
        raise UserError(
            f"{where} is {present[0]} everywhere, one class only; expected at least "
            "two classes."
        )
    elif present[-1] >= len(present):
        absent = np.flatnonzero(present != np.arange(len(present)))[0]
        raise UserError(
            f"{where} goes to {present[-1]} but no label is {absent}; expected every "
            "class 0..K-1 to occur: number the classes from 0 without gaps."
        )
    return label.astype(np.int32)


def _decoded(file: str) -> np.ndarray:
    """The pixels of an image file, uint8 [H, W, C]."""
    from PIL import Image  # comes with matplotlib; only folders need it

    try:
        with Image.open(file) as image:
            mode, pixels = image.mode, np.asarray(image)
    except Exception as error:  # pillow's decoders raise almost anything
        raise _unreadable("Image", file, error) from error
    if mode not in _PILLOW_MODES:
        raise UserError(
            f"Image '{file}' has mode {mode}; expected one of "
            f"{', '.join(_PILLOW_MODES)}: convert it."
        )
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _entries(path: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(path) if not name.startswith("."))
    except OSError as error:
        raise _unreadable("Data folder", path, error) from error


def describe(pixels: np.ndarray) -> str:
    """The size of an image [H, W, C] in words."""
    height, width, channels = pixels.shape
    return f"{height}x{width} with {channels} channel(s)"


def _unreadable(what: str, path: str, error: Exception) -> UserError:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    reason = text.splitlines()[0].rstrip(".")
    return UserError(f"{what} '{path}' cannot be read ({reason}); fix or replace it.")
