"""Labelled images from a folder with one sub-folder of images for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from nasjax.core.errors import UserError
from nasjax.data.arrays import Arrays
from nasjax.data.files import unreadable
from nasjax.data.pictures import is_picture, stacked, told
from nasjax.data.sizes import AS_IT_IS, Resize

_TRAIN = ("train", "training")
_VALID = ("val", "valid", "validation", "dev")
_TEST = ("test", "testing", "eval")
_SYSTEM = ("thumbs.db", "desktop.ini", "__macosx", "icon\r")


def parts(path: str) -> tuple[list[str], str] | None:
    """The parts of a data set in a folder such as `train/`, `val/` and `test/`.

    Returns:
        The folders to train on, and the one for the test: `test`, or `val` without
        `test`. None if the folder has no `train` with class folders, or has other
        sub-folders, or only one.
    """
    names = _folders(path)
    groups = [
        [f"{path}/{name}" for name in names if name.lower() in group]
        for group in (_TRAIN, _VALID, _TEST)
    ]
    train, valid, test = groups
    if sum(map(len, groups)) != len(names) or len(names) < 2 or len(train) != 1:
        return None
    if max(len(valid), len(test)) > 1 or not _folders(train[0]):
        return None
    return (train + valid, test[0]) if test else (train, valid[0])


def folder(
    path: str,
    classes: tuple[str, ...] | None = None,
    resize: Resize = AS_IT_IS,
    channels: int = 0,
) -> Arrays:
    """Reads a folder with one sub-folder of images for each class.

    Classes and images are sorted by name. Ignored are hidden entries, files next to the
    sub-folders, and files that are not images by their name. Images are in a class
    folder, or in the only folder in it.

    Args:
        path: the folder.
        classes: for test data, the classes of the training data. Every sub-folder must
            be one of them. By default the sub-folders are the classes.
        resize, channels: see `nasjax.data.pictures.stacked`.

    Raises:
        UserError: the folder, or a file in it, has other contents.
    """
    names = _class_folders(path, classes)
    classes = tuple(names) if classes is None else classes
    files: list[str] = []
    labels: list[int] = []
    skipped: list[str] = []
    for name in names:
        if name not in classes:
            raise UserError(
                f"Sub-folder '{name}' of '{path}' is not a class of the training data; "
                f"expected sub-folders among {', '.join(classes[:20])}."
            )
        own, other = _pictures(f"{path}/{name}")
        files += own
        skipped += other
        labels += [classes.index(name)] * len(own)
    image, notes = stacked(files, resize, channels)
    if skipped:
        notes = (told("skipped as no image", skipped, "file"), *notes)
    return Arrays(image, np.asarray(labels, np.int32), classes, notes)


def joined(found: Sequence[Arrays]) -> Arrays:
    """The examples of several folders with equal classes."""
    return Arrays(
        np.concatenate([part.image for part in found]),
        np.concatenate([part.label for part in found]),
        found[0].classes,
        tuple(note for part in found for note in part.notes),
    )


def _class_folders(path: str, classes: tuple[str, ...] | None) -> list[str]:
    """The names of the class folders, or a UserError."""
    names = _folders(path)
    inside = parts(path)
    if inside:
        raise UserError(
            f"Data folder '{path}' holds parts of a data set ({', '.join(names)}), one "
            f"level too high; give '{inside[1] if classes else inside[0][0]}'."
        )
    if len(names) == 1 and len(_folders(f"{path}/{names[0]}")) > 1:
        raise UserError(
            f"Data folder '{path}' holds only the folder '{names[0]}', one level too "
            f"high; give '{path}/{names[0]}'."
        )
    if len(names) < (2 if classes is None else 1):
        raise UserError(
            f"Data folder '{path}' has {len(names)} sub-folder(s); expected one "
            "sub-folder of images for each class"
            f"{', of at least two classes' if classes is None else ''}."
        )
    return names


def _pictures(path: str) -> tuple[list[str], list[str]]:
    """The images of a class, and other files, or a UserError."""
    inner = _folders(path)
    entries = [name for name in _entries(path) if name not in inner]
    pictures = [f"{path}/{name}" for name in entries if is_picture(name)]
    skipped = [f"{path}/{name}" for name in entries if not is_picture(name)]
    if len(inner) == 1 and not pictures and not _folders(f"{path}/{inner[0]}"):
        pictures, more = _pictures(f"{path}/{inner[0]}")
        return pictures, skipped + more
    if inner:
        raise UserError(
            f"Class folder '{path}' holds {len(inner)} folder(s) ({inner[0]}"
            f"{', ...' if len(inner) > 1 else ''}); expected images: give a folder whose "
            "sub-folders are the classes."
        )
    if not pictures:
        raise UserError(
            f"Class folder '{path}' is empty; add its images or remove it."
            if not skipped
            else f"Class folder '{path}' has no images, only other files such as "
            f"'{skipped[0]}'; add its images or remove it."
        )
    return pictures, skipped


def _folders(path: str) -> list[str]:
    return [name for name in _entries(path) if os.path.isdir(f"{path}/{name}")]


def _entries(path: str) -> list[str]:
    """The names in a folder, sorted, without hidden ones and those of systems."""
    try:
        return sorted(
            name
            for name in os.listdir(path)
            if not name.startswith(".") and name.lower() not in _SYSTEM
        )
    except OSError as error:
        raise unreadable("Data folder", path, error) from error
