"""Image files as arrays, with words for everything that is lost."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from nasjax.core.errors import UserError
from nasjax.data.files import unreadable
from nasjax.data.sizes import Resize, mixed, smaller

# Kinds of images that Pillow does not read without a plugin: refused, not skipped.
_FOREIGN = (".heic", ".heif", ".avif", ".jxl", ".svg", ".dng", ".cr2", ".nef", ".arw")
_COLOURS = ("CMYK", "YCbCr", "LAB", "HSV")


def is_picture(name: str) -> bool:
    """True if a file is an image by the ending of its name, or has none."""
    from PIL import Image  # comes with matplotlib; only folders need it

    ending = os.path.splitext(name)[1].lower()
    kind = Image.registered_extensions().get(ending)
    return not ending or kind in Image.OPEN or ending in _FOREIGN


def stacked(
    files: Sequence[str], resize: Resize, channels: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Image files as uint8 [N, H, W, C], and sentences on what is lost.

    Args:
        files: at least one.
        resize: the change of images to one size.
        channels: see `together`.

    Raises:
        UserError: a file cannot be read, or the sizes differ.
    """
    lost: dict[str, list[str]] = {}

    def images() -> Iterator[np.ndarray]:
        for file in files:
            pixels, words = decoded(file)
            for word in words:
                lost.setdefault(word, []).append(file)
            yield pixels

    image, dropped = together(images(), files, resize, channels)
    return image, tuple(told(word, own) for word, own in lost.items()) + dropped


def together(
    images: Iterable[np.ndarray],
    names: Sequence[str],
    resize: Resize,
    channels: int,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Images uint8 [H, W, C] as one array [N, H, W, C], and sentences on what is lost.

    If some images are grey and others have colours, all are stored in colours.
    Transparency is stored if all images have it.

    Args:
        images: at least one.
        names: of the images, for messages.
        resize: the change of images to one size; all images must have one size after it.
        channels: number of channels to store, 1, 3 or 4; 0: as the images have.

    Raises:
        UserError: the sizes differ, colours would become grey, or numbers of channels
            differ that are neither grey nor colours.
    """
    made: list[np.ndarray] = []
    for name, pixels in zip(names, images, strict=True):
        where = f"Image '{name}'"
        made.append(resize.of(pixels, where))
        if made[0].shape[:2] != made[-1].shape[:2]:
            raise mixed(made[0], f"'{names[0]}'", made[-1], where)
    found = {pixels.shape[-1] for pixels in made}
    if len(found) > 1 and not found <= {1, 3, 4}:
        other = next(i for i, each in enumerate(made) if each.shape != made[0].shape)
        raise mixed(made[0], f"'{names[0]}'", made[other], f"Image '{names[other]}'")
    channels = channels or (found.pop() if len(found) == 1 else 3)
    lost: dict[str, list[str]] = {}
    for index, pixels in enumerate(made):
        made[index], word = with_channels(pixels, channels, names[index])
        if word:
            lost.setdefault(word, []).append(names[index])
    notes = tuple(told(word, own) for word, own in lost.items())
    return smaller(np.stack(made), resize.shrink), notes


def told(word: str, names: Sequence[str], what: str = "image") -> str:
    """A sentence on images that lose something, with an example."""
    return f"{len(names)} {what}(s) {word}, such as '{names[0]}'"


def decoded(file: str) -> tuple[np.ndarray, list[str]]:
    """The pixels of an image file, and words for what is lost.

    The orientation of photos (EXIF) is applied, palettes become colours, 16 bits are
    rounded to 8, and only the first frame of an animation is read.

    Returns:
        uint8 [H, W, C]: C is 1 (grey), 3 (RGB) or 4 (RGBA).

    Raises:
        UserError: the file cannot be read, or holds other numbers.
    """
    from PIL import Image, ImageOps

    lost = []
    try:
        with Image.open(file) as image:
            # Phones add previews to their photos as further frames of an MPO file.
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
                lost.append("animated, only the first frame was read")
            if ";16" in str(image.tile) or image.mode.startswith("I"):
                lost.append("of 16 bits, rounded to 8")
            if image.mode in _COLOURS:
                lost.append(f"of mode {image.mode}, converted without its profile")
            upright = ImageOps.exif_transpose(image)
            pixels = _pixels(upright)
    except Exception as error:  # pillow's decoders raise almost anything
        raise unreadable("Image", file, error) from error
    if pixels is None:
        raise UserError(
            f"Image '{file}' has mode {upright.mode} and numbers outside 0..65535 or "
            "0..1; convert it to 8 bits, as PNG or JPEG."
        )
    return pixels[..., None] if pixels.ndim == 2 else pixels, lost


def with_channels(
    pixels: np.ndarray, channels: int, file: str
) -> tuple[np.ndarray, str]:
    """An image [H, W, C] with another number of channels, and a word for what is lost.

    Raises:
        UserError: a colour image would become grey.
    """
    given, word = pixels.shape[-1], ""
    if given == channels:
        return pixels, word
    if given == 4:
        if pixels[..., 3].min() < 255:
            word = "whose transparency was dropped, as other images have none"
        pixels = pixels[..., :3]
    if channels == 1:
        if (pixels != pixels[..., :1]).any():
            raise UserError(
                f"Image '{file}' has colours but the training images are grey; convert "
                "it to grey."
            )
        return pixels[..., :1], word
    colours = np.repeat(pixels, 3, -1) if given == 1 else pixels
    if channels == 4:
        return np.pad(colours, ((0, 0), (0, 0), (0, 1)), constant_values=255), word
    return colours, word


def _pixels(image) -> np.ndarray | None:
    """uint8 [H, W] or [H, W, C] of an image; None if its numbers have no known range."""
    if image.mode in ("L", "RGB", "RGBA"):
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    if image.mode in ("LA", "La", "PA", "RGBa"):
        return np.asarray(image.convert("RGBA"))
    if image.mode in ("P", "RGBX", *_COLOURS):
        clear = image.mode == "P" and "transparency" in image.info
        return np.asarray(image.convert("RGBA" if clear else "RGB"))
    numbers = np.asarray(image).astype(np.float64)
    most = 1 if image.mode == "F" else 65535
    if not (numbers.min() >= 0 and numbers.max() <= most):  # refuses nan, too
        return None
    return np.rint(numbers * (255 / most)).astype(np.uint8)
