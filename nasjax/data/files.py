"""Labelled images from an `.npz` archive."""

from __future__ import annotations

import zipfile
from typing import Any

import numpy as np

from nasjax.core.errors import UserError
from nasjax.data.arrays import Arrays, Origin, checked

_WRITE = "write it with numpy.savez(path, image=..., label=...)"


def npz(path: str, classes: tuple[str, ...] | None = None) -> Arrays:
    """Reads an `.npz` file with the arrays `image` and `label`; others are ignored.

    Args:
        path: the file; see `nasjax.data.arrays.checked` for the two arrays. Pickled
            objects are refused.
        classes: for test data, the classes of the training data.

    Raises:
        UserError: the file is missing or unreadable, or has other contents.
    """
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise UserError(
                    f"Data file '{path}' is not an .npz archive, or is cut short; "
                    f"{_WRITE}."
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as archive:
                image = _member(archive, "image", path)
                label = _member(archive, "label", path)
                held = ", ".join(archive) or "nothing"
    except UserError:
        raise
    except Exception as error:  # a damaged archive raises almost anything
        raise unreadable("Data file", path, error) from error
    for key, array in (("image", image), ("label", label)):
        # A member that is not in numpy's format is returned as bytes.
        if not isinstance(array, np.ndarray):
            raise UserError(
                f"Data file '{path}' has no array '{key}' (it holds {held}); {_WRITE}."
            )
    origin = Origin(f"in '{path}'", path)
    return checked(image, label, classes, origin)


def _member(archive: Any, name: str, path: str) -> Any:
    """An array of an archive, or None."""
    if name not in archive:
        return None
    try:
        return archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        kind = "uint8" if name == "image" else "str"
        raise UserError(
            f"'{name}' in '{path}' is an array of Python objects, which are stored as "
            "pickles and not read, because a pickle can run any code; store "
            f"numpy.array({name}.tolist()).astype({kind}), and images of different sizes "
            "as a folder."
        ) from None


def unreadable(what: str, path: str, error: Exception) -> UserError:
    """The error for a file that another library or the system cannot read."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    reason = text.splitlines()[0].rstrip(".")
    return UserError(f"{what} '{path}' cannot be read ({reason}); fix or replace it.")
