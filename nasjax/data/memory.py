"""Labelled images that a program gives to `nasjax.run` as arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from nasjax.core.errors import UserError
from nasjax.data.arrays import Arrays, Origin, checked, pixels
from nasjax.data.pictures import together
from nasjax.data.sizes import AS_IT_IS, Resize

_FORMS = (
    '(image, label), {"image": image, "label": label}, or two of these in a tuple, for '
    "the search and for the test"
)
_PREFIX = "arrays in memory, "


def read(data: Any, resize: Resize = AS_IT_IS) -> tuple[Arrays, Arrays | None]:
    """The data and the test data, or None, after the checks that files have to pass.

    Args:
        data: (image, label) or {"image": image, "label": label}, or a tuple of two of
            these: the data and the test data. image is [N, H, W] or [N, H, W, C], label
            [N]: arrays of numpy or jax, or nested lists; see
            `nasjax.data.arrays.checked`. Images [H, W, C] of different sizes in a list
            are brought to one size by `resize`.
        resize: the change of images to one size.

    Raises:
        UserError: the data have another form or content.
    """
    parts = list(data) if _is_two(data) else [data]
    train = _part(parts[0], None, Origin("of the data"), resize)
    if not parts[1:]:
        return train, None
    channels, origin = train.image.shape[-1], Origin("of the test data")
    return train, _part(parts[1], train.classes, origin, resize, channels)


def address(data: Any) -> str:
    """A text for `config.data.path` that differs for other arrays.

    A run that is resumed with other data is refused by it.
    """
    digest = hashlib.sha256()
    for part in data if _is_two(data) else [data]:
        image, label = _pair(part)
        images = _images(image)
        for values in (
            *(images if isinstance(images, list) else [images]),
            _array(label),
        ):
            digest.update(repr((values.shape, values.dtype.str)).encode())
            plain = values.dtype != object
            digest.update(values.tobytes() if plain else repr(values.tolist()).encode())
    return f"{_PREFIX}{digest.hexdigest()[:16]}"


def is_address(path: str) -> bool:
    """True for a text of `address`."""
    return path.startswith(_PREFIX)


def _is_two(data: Any) -> bool:
    return (
        isinstance(data, tuple)
        and len(data) == 2
        and all(isinstance(part, tuple | Mapping) for part in data)
    )


def _part(
    data: Any,
    classes: tuple[str, ...] | None,
    origin: Origin,
    resize: Resize,
    channels: int = 0,
) -> Arrays:
    image, label = _pair(data)
    images, label = _images(image), _array(label)
    if isinstance(images, list):
        names = [f"{place} {origin.text}" for place in range(len(images))]
        read = [
            pixels(_numbers(image)[None], f"Image '{name}'", origin)[0]
            for image, name in zip(images, names, strict=True)
        ]
        image, notes = together(read, names, resize, channels)
        found = checked(image, label, classes, origin)
        return found._replace(notes=(*notes, *found.notes))
    found = checked(images, label, classes, origin)
    return found._replace(image=resize.every(found.image))


def _images(values: Any) -> np.ndarray | list[np.ndarray]:
    """Images as an array; of different sizes, as a list of arrays [H, W] or [H, W, C]."""
    objects = isinstance(values, np.ndarray) and values.dtype.kind == "O"
    several = objects or isinstance(values, list | tuple)
    if several and len(values) and not any(map(np.isscalar, values)):
        images = [_array(each) for each in values]
        if len({image.shape for image in images}) > 1:
            return images
        return _numbers(np.stack(images))
    return _numbers(_array(values))


def _pair(data: Any) -> tuple[Any, Any]:
    """The images and the labels, or a UserError."""
    if isinstance(data, Mapping) and set(data) == {"image", "label"}:
        return data["image"], data["label"]
    if isinstance(data, tuple | list) and len(data) == 2:
        return data[0], data[1]
    given = type(data).__name__
    if isinstance(data, Mapping):
        given = f"dictionary with {', '.join(map(str, data)) or 'nothing'}"
    elif isinstance(data, tuple | list):
        given = f"{given} of {len(data)}"
    raise UserError(f"The data are a {given}; expected {_FORMS}.")


def _array(values: Any) -> np.ndarray:
    try:
        found = np.asarray(values)
    except Exception as error:  # such as rows of different lengths
        reason = str(error).splitlines()[0].rstrip(".")
        raise UserError(
            f"The data cannot be made an array ({reason}); expected {_FORMS}."
        ) from error
    return found


def _numbers(found: np.ndarray) -> np.ndarray:
    """An array of images, or a UserError if it holds Python objects."""
    if found.dtype == object:
        raise UserError(
            f"The images are Python objects of shape {found.shape}; expected {_FORMS}, "
            "with images that are arrays of numbers."
        )
    return found
