"""Labelled images from a folder with one sub-folder of images for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from nasjax.core.errors import UserError
from nasjax.data.arrays import Arrays, describe, resized
from nasjax.data.files import unreadable
from nasjax.data.pictures import decoded, is_picture, with_channels

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
    side: int = 0,
    crop: bool = True,
    channels: int = 0,
) -> Arrays:
    """Reads a folder with one sub-folder of images for each class.

    Classes and images are sorted by name. Ignored are hidden entries, files next to the
    sub-folders, and files that are not images by their name. Images are in a class
    folder, or in the only folder in it. If some images are grey and others have colours,
    all are stored in colours. Transparency is stored if all images have it.

    Args:
        path: the folder.
        classes: for test data, the classes of the training data. Every sub-folder must
            be one of them. By default the sub-folders are the classes.
        side, crop: see `nasjax.data.arrays.resized`; with side 0 all images must have
            one size.
        channels: number of channels to store, 1, 3 or 4; 0: as the images have.

    Raises:
        UserError: the folder, or a file in it, has other contents.
    """
    names = _class_folders(path, classes)
    classes = tuple(names) if classes is None else classes
    images: list[np.ndarray] = []
    files: list[str] = []
    labels: list[int] = []
    lost: dict[str, list[str]] = {}
    for name in names:
        if name not in classes:
            raise UserError(
                f"Sub-folder '{name}' of '{path}' is not a class of the training data; "
                f"expected sub-folders among {', '.join(classes[:20])}."
            )
        own, skipped = _pictures(f"{path}/{name}")
        for file in skipped:
            lost.setdefault("skipped as no image", []).append(file)
        for file in own:
            pixels, words = decoded(file)
            pixels = resized(pixels, side, crop)
            if images and pixels.shape[:2] != images[0].shape[:2]:
                raise UserError(
                    f"Image '{file}' is {describe(pixels)} but '{files[0]}' is "
                    f"{describe(images[0])}; expected one size: set "
                    f"--config.data.resize={min(images[0].shape[:2])} to make all images "
                    "squares of this side."
                )
            for word in words:
                lost.setdefault(word, []).append(file)
            images.append(pixels)
            files.append(file)
        labels += [classes.index(name)] * len(own)
    channels = channels or _common(images)
    for index, pixels in enumerate(images):
        images[index], word = with_channels(pixels, channels, files[index])
        if word:
            lost.setdefault(word, []).append(files[index])
    notes = tuple(
        f"{len(own)} file(s) {word}, such as '{own[0]}'" for word, own in lost.items()
    )
    return Arrays(np.stack(images), np.asarray(labels, np.int32), classes, notes)


def joined(found: Sequence[Arrays]) -> Arrays:
    """The examples of several folders with equal classes."""
    return Arrays(
        np.concatenate([part.image for part in found]),
        np.concatenate([part.label for part in found]),
        found[0].classes,
        tuple(note for part in found for note in part.notes),
    )


def _common(images: Sequence[np.ndarray]) -> int:
    """The number of channels that all images are stored with."""
    found = {pixels.shape[-1] for pixels in images}
    return found.pop() if len(found) == 1 else 3


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
