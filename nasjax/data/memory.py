"""Labelled images that a program gives to `nasjax.run` as arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from nasjax.core.errors import UserError
from nasjax.data.arrays import Arrays, Origin, checked

_FORMS = (
    '(image, label), {"image": image, "label": label}, or two of these in a tuple, for '
    "the search and for the test"
)
_PREFIX = "arrays in memory, "


def read(data: Any) -> tuple[Arrays, Arrays | None]:
    """The data and the test data, or None, after the checks that files have to pass.

    Args:
        data: (image, label) or {"image": image, "label": label}, or a tuple of two of
            these: the data and the test data. image is [N, H, W] or [N, H, W, C], label
            [N]: arrays of numpy or jax, or nested lists; see
            `nasjax.data.arrays.checked`.

    Raises:
        UserError: the data have another form or content.
    """
    parts = list(data) if _is_two(data) else [data]
    train = _part(parts[0], None, Origin("of the data"))
    if not parts[1:]:
        return train, None
    return train, _part(parts[1], train.classes, Origin("of the test data"))


def address(data: Any) -> str:
    """A text for `config.data.path` that differs for other arrays.

    A run that is resumed with other data is refused by it.
    """
    digest = hashlib.sha256()
    for part in data if _is_two(data) else [data]:
        for array in _pair(part):
            values = _array(array)
            digest.update(repr((values.shape, values.dtype.str)).encode())
            digest.update(values.tobytes())
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


def _part(data: Any, classes: tuple[str, ...] | None, origin: Origin) -> Arrays:
    image, label = map(_array, _pair(data))
    return checked(image, label, classes, origin)


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
    if found.dtype == object:
        raise UserError(
            f"The data hold Python objects of shape {found.shape}; expected {_FORMS}, "
            "with arrays of numbers, and labels that are integers or strings."
        )
    return found
