"""Labelled images from an `.npz` archive, or from two `.npy` files."""

from __future__ import annotations

import os
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


def npy(path: str, classes: tuple[str, ...] | None = None) -> Arrays:
    """Reads the images of an `.npy` file. The labels are in a file next to it, whose
    name has "label" instead of "image": train_images.npy and train_labels.npy.

    Args:
        path: the images.
        classes: for test data, the classes of the training data.

    Raises:
        UserError: a file is missing or unreadable, or has other contents.
    """
    folder, name = os.path.split(path)
    labels = os.path.join(folder, name.replace("image", "label"))
    if labels == path or not os.path.isfile(labels):
        expected = (
            f"'{labels}'" if labels != path else "in a file like train_labels.npy"
        )
        raise UserError(
            f"'{path}' holds an array without labels; expected the labels {expected} "
            f"next to images in a file like train_images.npy; or {_WRITE}."
        )
    found = []
    for name, file in (("image", path), ("label", labels)):
        try:
            found.append(np.load(file, allow_pickle=False))
        except Exception as error:  # a damaged file raises almost anything
            if "allow_pickle" in str(error):
                raise _pickled(name, file) from None
            raise unreadable("Data file", file, error) from error
    origin = Origin(f"in '{path}'", path, labels)
    return checked(found[0], found[1], classes, origin)


def _member(archive: Any, name: str, path: str) -> Any:
    """An array of an archive, or None."""
    if name not in archive:
        return None
    try:
        return archive[name]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        raise _pickled(name, path) from None


def _pickled(name: str, path: str) -> UserError:
    """The refusal of an array of Python objects."""
    kind = "uint8" if name == "image" else "str"
    return UserError(
        f"'{name}' in '{path}' is an array of Python objects, which are stored as "
        "pickles and not read, because a pickle can run any code; store "
        f"numpy.array({name}.tolist()).astype({kind}), and images of different sizes "
        "as a folder."
    )


def unreadable(what: str, path: str, error: Exception) -> UserError:
    """The error for a file that another library or the system cannot read."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    reason = text.splitlines()[0].rstrip(".")
    return UserError(f"{what} '{path}' cannot be read ({reason}); fix or replace it.")
