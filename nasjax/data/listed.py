"""Labelled images from a table of files and labels."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np

from nasjax.core.errors import UserError
from nasjax.data.arrays import Arrays
from nasjax.data.files import unreadable
from nasjax.data.labels import indexed
from nasjax.data.pictures import is_picture, stacked
from nasjax.data.sizes import AS_IT_IS, Resize

ENDINGS = (".csv", ".tsv")


def listed(
    path: str,
    classes: tuple[str, ...] | None = None,
    resize: Resize = AS_IT_IS,
    channels: int = 0,
) -> Arrays:
    """Reads the images that a table names.

    Args:
        path: a CSV file with two columns, image file and label, separated by comma,
            semicolon or tab. Files are relative to its folder. A first row is a header
            if it names no file and has no ending of an image.
        classes: for test data, the classes of the training data.
        resize, channels: see `nasjax.data.pictures.stacked`.

    Raises:
        UserError: the table, or an image in it, has other contents.
    """
    rows = _rows(path)
    root = os.path.dirname(path)
    at = lambda row: os.path.join(root, row[1][0].strip())
    if rows and not (os.path.isfile(at(rows[0])) or _has_ending(at(rows[0]))):
        rows = rows[1:]
    if not rows:
        raise UserError(
            f"Table '{path}' names no image that exists; expected rows such as "
            "images/0.png,cat with files relative to the table."
        )
    for row in rows:
        if not os.path.isfile(at(row)):
            raise UserError(
                f"Line {row[0]} of '{path}' names '{at(row)}', which is no file; expected "
                "an image with the ending of its name, relative to the table."
            )
    cells = [row[1][1].strip() for row in rows]
    label = np.array(cells) if classes else _labels(cells)  # known classes have names
    index, classes, more = indexed(label, classes, f"The second column of '{path}'", "")
    image, notes = stacked(list(map(at, rows)), resize, channels)
    return Arrays(image, index, classes, (*notes, *more))


def _has_ending(name: str) -> bool:
    """True if the name of a file ends as the name of an image."""
    return bool(os.path.splitext(name)[1]) and is_picture(name)


def _labels(cells: list[str]) -> np.ndarray:
    """Integers, as objects of any length, if all cells are integers as Python writes
    them, so that 007 stays a name; else strings."""
    try:
        numbers = list(map(int, cells))
    except ValueError:
        return np.array(cells)
    return np.array(numbers if list(map(str, numbers)) == cells else cells, object)


def _rows(path: str) -> list[tuple[int, list[str]]]:
    """The number and the two cells of each line that is not empty."""
    try:
        text = Path(path).read_text("utf-8-sig").splitlines()
        mark = max(",;\t", key=text[0].count) if text else ","
        lines = enumerate(csv.reader(text, delimiter=mark, strict=True), 1)
        rows = [(number, line) for number, line in lines if any(line)]
    except (OSError, UnicodeError, csv.Error) as error:
        raise unreadable("Table", path, error) from error
    for number, line in rows:
        if len(line) != 2:
            raise UserError(
                f"Line {number} of '{path}' has {len(line)} column(s); expected two, "
                "image file and label; pixels as numbers are stored with "
                "numpy.savez(FILE.npz, image=..., label=...)."
            )
    return rows
