"""The parts of a data set: for the weights, for the architecture and for the test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nasjax.core.errors import UserError
from nasjax.data.sources import Arrays


class Part(NamedTuple):
    """A part of a data set: uint8 `image` [N, H, W, C] and int32 `label` [N]."""

    image: np.ndarray
    label: np.ndarray


class Splits(NamedTuple):
    """Three disjoint parts and the names of the classes.

    A search trains weights on `weights` and moves the architecture by `arch`;
    retraining uses both; `test` is for the one measurement at the end.
    """

    weights: Part
    arch: Part
    test: Part
    classes: tuple[str, ...]


def split(
    train: Arrays,
    test: Arrays | None = None,
    fractions: Sequence[float] = (0.4, 0.4, 0.2),
    seed: int = 0,
) -> Splits:
    """Splits `train` at random; the same seed gives the same parts.

    Args:
        train: the data to split.
        test: a separate test set. With it `train` is divided by the first two
            fractions, scaled to sum to 1, and the third fraction is not used.
        fractions: fractions of the weight, architecture and test part; they sum to 1.
        seed: seed of the permutation, independent of the seed of the run.

    Raises:
        UserError: the fractions or the seed are malformed, a part would be empty, or
            the weight part would lack a class.
    """
    try:
        given = [float(fraction) for fraction in fractions]
    except (TypeError, ValueError):
        given = []
    used = given if test is None else given[:2]
    if (
        len(given) != 3
        or not all(0 < fraction < np.inf for fraction in used)
        or (test is None and abs(sum(used) - 1) > 1e-6)
    ):
        raise UserError(
            f"The split fractions are {fractions}; expected three positive numbers "
            "that sum to 1, for weights, architecture and test, such as "
            "(0.4, 0.4, 0.2); with a separate test set the third may be 0."
        )
    # numpy would accept None (a random seed) and sequences.
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise UserError(f"The split seed is {seed!r}; expected an integer from 0.")
    order = np.random.default_rng(seed).permutation(len(train.label))
    bounds = np.rint(np.cumsum(used)[:-1] / sum(used) * len(order)).astype(int)
    parts = [
        Part(train.image[chosen], train.label[chosen])
        for chosen in np.split(order, bounds)
    ]
    if test is not None:
        parts.append(Part(test.image, test.label))
    for name, part in zip(("weight", "architecture", "test"), parts, strict=True):
        if not len(part.label):
            raise UserError(
                f"The {name} part of {len(order)} images is empty with the split "
                f"fractions {fractions}; give more images or other fractions."
            )
    absent = np.setdiff1d(train.label, parts[0].label)
    if absent.size:
        raise UserError(
            f"The weight part ({len(parts[0].label)} of {len(order)} images) has none "
            f"of class '{train.classes[absent[0]]}'; give more images of it, a larger "
            "first split fraction or another split seed."
        )
    return Splits(parts[0], parts[1], parts[2], train.classes)
