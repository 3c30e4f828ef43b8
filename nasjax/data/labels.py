"""Labels of any kind as class numbers, and the names of the classes."""

from __future__ import annotations

from typing import Any

import numpy as np

from nasjax.core.errors import UserError


def indexed(
    label: np.ndarray, classes: tuple[str, ...] | None, where: str, whole: str
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Labels as int32 [N] in 0 .. K - 1, the names of the K classes, and notes.

    Args:
        label: [N]: integers from 0, strings, UTF-8 bytes or booleans, also as Python
            objects. Each distinct value is a class: strings are sorted by name, and
            integers by value, whose digits are the names.
        classes: for test data, the classes of the training data.
        where: the place of the labels.
        whole: the words that tell to convert floats.

    Raises:
        UserError: the labels are of another kind, or are not among `classes`.
    """
    if label.dtype.kind in "OT":  # objects, and strings of any length of numpy 2
        label = _plain(label, where)
    if label.dtype.kind == "S":
        label = np.char.decode(label, "utf-8", "replace")
    kind = label.dtype.kind.replace("O", "i")  # objects are integers of any length
    if kind == "f" and (np.isfinite(label) & (label == np.rint(label))).all():
        raise UserError(f"{where} is {label.dtype}; expected integers: {whole}")
    if kind not in "Uiub":
        raise UserError(
            f"{where} is {label.dtype}; expected integers from 0, or strings."
        )
    if kind == "i" and label.min() < 0:
        raise UserError(
            f"{where} contains {label.min()}; expected classes numbered from 0: leave "
            "out images without a class, or give names."
        )
    values, index = np.unique(label, return_inverse=True)
    own = tuple(map(str, values))
    if "" in own:
        raise UserError(
            f"{where} has an empty string; expected a class for each image: leave out "
            "images without a class."
        )
    if classes is None:
        if len(own) < 2:
            raise UserError(f"{where} has one class only; expected at least two.")
        notes: tuple[str, ...] = ()
        if kind in "iu" and int(values[-1]) != len(own) - 1:
            notes = (
                f"the labels are {len(own)} numbers from {own[0]} to {own[-1]}, which are "
                "the names of the classes",
            )
        return index.astype(np.int32), own, notes
    for name in own:
        if name not in classes:
            raise UserError(
                f"{where} contains {name!r}, which is not a class of the training data; "
                f"expected labels among {', '.join(classes[:20])}."
            )
    place = np.array([classes.index(name) for name in own], np.int32)
    return place[index], classes, ()


def _plain(label: np.ndarray, where: str) -> np.ndarray:
    """Python objects of one kind as an array of this kind.

    Integers that no type of numpy holds, such as long identifiers, stay objects.
    """
    values: list[Any] = label.tolist()
    for kind, dtype in ((str, str), (bytes, bytes), (bool, bool), (int, int)):
        if all(type(value) is kind or _is_numpy(value, kind) for value in values):
            try:
                return np.array(values, dtype)
            except OverflowError:
                return np.array(list(map(int, values)), object)
    kinds = sorted({type(value).__name__ for value in values})
    raise UserError(
        f"{where} holds Python objects ({', '.join(kinds)}); expected strings alone or "
        "integers alone, one for each image."
    )


def _is_numpy(value: Any, kind: type) -> bool:
    """True for a scalar of numpy of this kind."""
    kinds = {str: "U", bytes: "S", bool: "b", int: "iu"}
    return isinstance(value, np.generic) and value.dtype.kind in kinds[kind]
