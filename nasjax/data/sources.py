"""Sources of labelled images by name: embedded data, or a file the user gives."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from nasjax.core.errors import UserError, unknown
from nasjax.data.files import Arrays, describe, folder, npz


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


SOURCES: dict[str, Callable[[], Arrays]] = {"digits": digits}
"""The data sets that need no file."""

EXTERNAL = ("cifar10", "cifar100", "svhn", "imagenet")
"""The data sets known by name whose file the user brings."""


def load(
    name: str, path: str = "", test_path: str = "", shrink: int = 1
) -> tuple[Arrays, Arrays | None, str]:
    """Loads the data of a run.

    Args:
        name: a name in `SOURCES`. With a path the name is only a label; the stem of the
            path replaces it if it is empty or names an embedded data set.
        path: an `.npz` file or a folder of images, instead of an embedded data set.
        test_path: a second file or folder, for the test only.
        shrink: factor by which images are made smaller: squares of shrink x shrink
            pixels are averaged.

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
            raise unknown("data set", name, (*SOURCES, *EXTERNAL))
        return smaller(SOURCES[name](), shrink), None, name
    train, test = _read(path), None
    if test_path:
        test = _read(test_path, train.classes)
        if os.path.samefile(os.path.expanduser(path), os.path.expanduser(test_path)):
            raise UserError(
                f"'{path}' was given as training and as test data; give another "
                "--config.data.test_path, or none to split the test part off."
            )
        if test.image.shape[1:] != train.image.shape[1:]:
            raise UserError(
                f"Test images in '{test_path}' are {describe(test.image[0])} but images"
                f" in '{path}' are {describe(train.image[0])}; expected one size."
            )
    embedded = not name or name in SOURCES
    train, test = smaller(train, shrink), test and smaller(test, shrink)
    return train, test, Path(path).stem if embedded else name


def smaller(data: Arrays, factor: int) -> Arrays:
    """Images in which every square of factor x factor pixels is replaced by its mean.

    Raises:
        UserError: the sides are not multiples of the factor.
    """
    if factor == 1:
        return data
    count, height, width, channels = data.image.shape
    if height % factor or width % factor:
        raise UserError(
            f"Images of {height}x{width} pixels cannot be made {factor} times smaller; "
            "set --config.data.shrink to a factor of both sides."
        )
    shape = count, height // factor, factor, width // factor, factor, channels
    means = data.image.reshape(shape).mean((2, 4))
    return data._replace(image=np.rint(means).astype(np.uint8))


def _read(path: str, classes: tuple[str, ...] | None = None) -> Arrays:
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        return folder(path, classes)
    if not os.path.exists(path):
        raise UserError(
            f"Data '{path}' does not exist; give an .npz file with 'image' and "
            "'label', or a folder with one sub-folder of images for each class."
        )
    return npz(path, classes)
