"""The change of images to one size."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from nasjax.core.errors import UserError

Size = int | tuple[int, int]


class Resize(NamedTuple):
    """The change of images to one size, as `config.data` asks for it.

    Attributes:
        size: side of a square or (height, width), in pixels; 0: as the images are.
        crop: True: an image is scaled until it covers `size`, and the middle is kept.
            A side or (height, width): this middle is kept instead. False: the image is
            stretched to `size`.
        shrink: factor by which images are made smaller after this: squares of
            shrink x shrink pixels are averaged.
    """

    size: Size = 0
    crop: bool | Size = True
    shrink: int = 1

    def of(self, pixels: np.ndarray, where: str) -> np.ndarray:
        """An image uint8 [H, W, C] in the new size, without `shrink`.

        Pixels are averaged with the antialiased bilinear filter of Pillow.

        Args:
            pixels: the image.
            where: its name, for the error.

        Raises:
            UserError: the image is smaller than the middle that is to be kept.
        """
        from PIL import Image  # comes with matplotlib

        sides = pixels.shape[:2]
        wanted = _sides(self.size) if self.size else sides
        kept = wanted if isinstance(self.crop, bool) else _sides(self.crop)
        if kept == wanted == sides:
            return pixels
        box = sides
        if self.crop is not False:
            scale = 1.0
            if self.size:
                scale = max(new / old for new, old in zip(wanted, sides, strict=True))
            box = tuple(max(1, round(side / scale)) for side in kept)
        if box[0] > sides[0] or box[1] > sides[1]:
            shown = f"{round(sides[0] * scale)}x{round(sides[1] * scale)}"
            raise UserError(
                f"{where} is {shown}{' after resizing' if self.size else ''}, smaller "
                f"than config.data.crop={self.crop}; set --config.data.resize to at "
                f"least {max(kept)}, or a smaller --config.data.crop."
            )
        top, left = (sides[0] - box[0]) // 2, (sides[1] - box[1]) // 2
        middle = pixels[top : top + box[0], left : left + box[1]]
        if box == kept:
            return middle
        planes = [
            Image.fromarray(np.ascontiguousarray(plane)).resize(
                kept[::-1], Image.Resampling.BILINEAR
            )
            for plane in np.moveaxis(middle, -1, 0)
        ]
        return np.stack([np.asarray(plane) for plane in planes], -1)

    def every(self, image: np.ndarray) -> np.ndarray:
        """Images uint8 [N, H, W, C] of one size in the new size."""
        if not self.size and self.crop is True:
            return smaller(image, self.shrink)
        images = [self.of(pixels, "An image") for pixels in image]
        return smaller(np.stack(images), self.shrink)


AS_IT_IS = Resize()


def smaller(image: np.ndarray, factor: int) -> np.ndarray:
    """Images [N, H, W, C] in which every square of factor x factor pixels is replaced
    by its mean.

    Raises:
        UserError: the sides are not multiples of the factor.
    """
    if factor == 1:
        return image
    count, height, width, channels = image.shape
    if height % factor or width % factor:
        raise UserError(
            f"Images of {height}x{width} pixels cannot be made {factor} times smaller; "
            "set --config.data.shrink to a factor of both sides."
        )
    shape = count, height // factor, factor, width // factor, factor, channels
    return np.rint(image.reshape(shape).mean((2, 4))).astype(np.uint8)


def describe(pixels: np.ndarray) -> str:
    """The size of an image [H, W, C] in words."""
    height, width, channels = pixels.shape
    return f"{height}x{width} with {channels} channel(s)"


def mixed(first: np.ndarray, where: str, other: np.ndarray, place: str) -> UserError:
    """The refusal of images [H, W, C] that cannot be in one array, with what to do.

    where, place: names of the two images.
    """
    remedy = (
        f"one size: set --config.data.resize={min(first.shape[:2])} to make all images "
        "squares of this side"
    )
    if first.shape[:2] == other.shape[:2]:
        remedy = "one number of channels: convert all images to grey, or all to colours"
    return UserError(
        f"{place} is {describe(other)} but {where} is {describe(first)}; expected "
        f"{remedy}."
    )


def _sides(size: Any) -> tuple[int, int]:
    """(height, width) of a `Size`."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])
