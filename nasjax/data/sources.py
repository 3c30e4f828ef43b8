"""Sources of labelled images by name: embedded data, or a file the user gives."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from nasjax.core.errors import UserError, short, unregistered
from nasjax.core.tables import Table
from nasjax.data import folders, listed, memory
from nasjax.data.arrays import Arrays
from nasjax.data.files import npy, npz
from nasjax.data.sizes import AS_IT_IS, Resize, mixed


def digits() -> Arrays:
    """The 1,797 handwritten digits that ship inside scikit-learn: [1797, 8, 8, 1].

    Their grey values 0 .. 16 become round(value * 255 / 16).

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits",
    UCI Machine Learning Repository, 1998 (its test part).
    """
    # Read as a file: importing scikit-learn takes longer than the rest of a start.
    found = importlib.util.find_spec("sklearn")
    assert found is not None and found.origin is not None  # a dependency
    file = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    rows = np.loadtxt(file, delimiter=",", dtype=np.int32)  # 64 grey values, the digit
    image = np.rint(rows[:, :-1] * 255 / 16).astype(np.uint8).reshape(-1, 8, 8, 1)
    return Arrays(image, rows[:, -1], tuple("0123456789"))


SOURCES: Table[Callable[[], Arrays]] = Table(
    "nasjax.data.sources.SOURCES",
    "a function () -> nasjax.data.arrays.Arrays",
    callable,
    {"digits": digits},
)
"""The data sets that need no file."""

EXTERNAL = ("cifar10", "cifar100", "svhn", "imagenet")
"""The data sets known by name whose file the user brings."""


def load(
    name: str, path: str = "", test_path: str = "", resize: Resize = AS_IT_IS
) -> tuple[Arrays, Arrays | None, str]:
    """Loads the data of a run.

    Args:
        name: a name in `SOURCES`. With a path the name is only a label; the stem of the
            path replaces it if it is empty or names an embedded data set.
        path: a folder of images, an `.npz` file, an `.npy` file of images with one of
            labels, or a CSV table of files and labels, instead of an embedded data set.
            A folder may hold the parts `train`, `val` and `test`, see
            `nasjax.data.folders.parts`.
        test_path: a second file or folder, for the test only.
        resize: the change of images to one size.

    Returns:
        The data, the separate test data or None, and the name to report.

    Raises:
        UserError: the name is unknown, or a file is missing, is malformed or does not
            match the other file.
    """
    if not path:
        if test_path:
            raise UserError(
                f"Test data '{test_path}' was given without data to search on; give "
                "--config.data.path=FILE.npz as well."
            )
        if name in EXTERNAL:
            raise UserError(
                f"Data set '{name}' does not ship with nasjax; give it with "
                "--config.data.path=FILE.npz (arrays 'image' and 'label')."
            )
        if name not in SOURCES:
            raise unregistered("data set", name, (*SOURCES, *EXTERNAL))
        own = _of_table(name)
        return own._replace(image=resize.every(own.image)), None, name
    path, test_path = os.path.expanduser(path), os.path.expanduser(test_path)
    inside = folders.parts(path) if os.path.isdir(path) else None
    paths = [path]
    if inside and test_path:
        raise UserError(
            f"Data folder '{path}' holds parts of a data set, and --config.data.test_path"
            f" was given as well; give --config.data.path={inside[0][0]}."
        )
    if inside:
        paths, test_path = inside
    found: list[Arrays] = []
    for each in paths:
        found.append(_read(each, resize, found[0] if found else None))
        _same_size(found[0], paths[0], found[-1], each)
    train, test = folders.joined(found) if found[1:] else found[0], None
    if test_path:
        try:
            test = _read(test_path, resize, train)
        except UserError as error:
            alone = f" Or give --config.data.path={paths[0]} alone." if inside else ""
            raise UserError(f"{error}{alone}") from None
        if os.path.samefile(paths[0], test_path):
            raise UserError(
                f"'{path}' was given as training and as test data; give another "
                "--config.data.test_path, or none to split the test part off."
            )
        _same_size(train, paths[0], test, test_path)
    if inside:
        told = (
            f"read as weights and architecture: {', '.join(map(_stem, paths))}; test: "
        )
        train = train._replace(notes=(told + _stem(test_path), *train.notes))
    return train, test, _label(name, Path(path).stem)


def _of_table(name: str) -> Arrays:
    """The data of a row of `SOURCES`, which may be the user's."""
    found = SOURCES[name]()
    if not isinstance(found, Arrays):
        raise UserError(
            f"The data set {name!r} is a {type(found).__name__}; expected "
            "nasjax.data.arrays.Arrays(image, label, classes)."
        )
    image, label = np.asarray(found.image), np.asarray(found.label)
    kinds = image.dtype == np.uint8 and label.dtype.kind in "iu"
    if not kinds or image.ndim != 4 or label.shape != image.shape[:1] or not len(label):
        raise UserError(
            f"The data set {name!r} has image {image.dtype} {list(image.shape)} and label "
            f"{label.dtype} {list(label.shape)}; expected uint8 [N, H, W, C] and int32 "
            "[N]; nasjax.data.arrays.checked converts."
        )
    if label.min() < 0 or label.max() >= len(found.classes):
        raise UserError(
            f"The data set {name!r} has labels {label.min()} to {label.max()} and "
            f"{len(found.classes)} classes; expected labels from 0 to "
            f"{len(found.classes) - 1}."
        )
    return found._replace(image=image, label=label.astype(np.int32))


def given(data: Any, name: str, resize: Resize) -> tuple[Arrays, Arrays | None, str]:
    """Arrays in memory instead of files; see `nasjax.data.memory.read` and `load`."""
    train, test = memory.read(data, resize)
    if test:
        _same_size(train, "data", test, "test data")
    return train, test, _label(name, "arrays")


def _label(name: str, own: str) -> str:
    return own if not name or name in SOURCES else name


def _stem(path: str) -> str:
    return os.path.basename(path)


def _same_size(train: Arrays, path: str, test: Arrays, test_path: str) -> None:
    if test.image.shape[1:] != train.image.shape[1:]:
        where, place = f"one in '{path}'", f"An image in '{test_path}'"
        raise mixed(train.image[0], where, test.image[0], place)


def _read(path: str, resize: Resize, train: Arrays | None) -> Arrays:
    """A file or folder; `train`: the data whose classes and channels it has to have."""
    classes, channels = (train.classes, train.image.shape[-1]) if train else (None, 0)
    if os.path.isdir(path):
        return folders.folder(path, classes, resize, channels)
    if not os.path.exists(path) and memory.is_address(path):
        raise UserError(
            f"The data were {path}, which are in no file; call nasjax.run with data=..., "
            "or write them with numpy.savez(path, image=..., label=...)."
        )
    if not os.path.exists(path):
        raise UserError(
            f"Data '{short(str(path))}' does not exist; give an .npz file with 'image' and "
            "'label', or a folder with one sub-folder of images for each class."
        )
    ending = os.path.splitext(path)[1].lower()
    if ending in listed.ENDINGS:
        return listed.listed(path, classes, resize, channels)
    read = npy(path, classes) if ending == ".npy" else npz(path, classes)
    return read._replace(image=resize.every(read.image))
