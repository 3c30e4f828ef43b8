"""The parts of a data set: for the weights, for the architecture and for the test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nasjax.core.errors import UserError
from nasjax.data.arrays import Arrays


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
    judged: bool = True,
) -> Splits:
    """Splits `train` at random by class; the same seed gives the same parts.

    Args:
        train: the data to split.
        test: a separate test set. With it `train` is divided by the first two
            fractions, scaled to sum to 1, and the third fraction is not used.
        fractions: fractions of the weight, architecture and test part; they sum to 1.
        seed: seed of the permutation, independent of the seed of the run.
        judged: False if nothing is measured on the test part, which may then lack
            classes.

    The sizes of the parts are the fractions of all images, by largest remainders. Each
    class is divided as the fractions say, to the nearest images that these sizes permit,
    and every part that needs it has at least one image of each class.

    Raises:
        UserError: the fractions or the seed are malformed, a part would be empty or
            would lack a class.
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
    random = np.random.default_rng(seed)
    order = random.permutation(len(train.label))
    sizes = _sizes(len(order), np.array(used) / sum(used))
    counts = np.bincount(train.label, minlength=len(train.classes))
    least = np.array([1, 1, int(judged)][: len(sizes)])
    _check(sizes, counts, least, train.classes, fractions)
    quotas = _quotas(counts, sizes, least, random)
    # Of every class, in the order of the permutation, the first images go to the first
    # part, and so on.
    part_of = np.empty(len(order), int)
    for label, quota in enumerate(quotas):
        own = order[train.label[order] == label]
        part_of[own] = np.repeat(np.arange(len(sizes)), quota)
    parts = []
    for index in range(len(sizes)):
        chosen = order[part_of[order] == index]
        parts.append(Part(train.image[chosen], train.label[chosen]))
    if test is not None:
        parts.append(Part(test.image, test.label))
    return Splits(parts[0], parts[1], parts[2], train.classes)


def _sizes(count: int, shares: np.ndarray) -> np.ndarray:
    """Integers that sum to `count`, as near to its `shares` as can be.

    >>> _sizes(1797, np.array([0.4, 0.4, 0.2])).tolist()
    [719, 719, 359]
    """
    exact = np.round(count * shares, 9)
    sizes = np.floor(exact).astype(int)
    largest = np.argsort(sizes - exact, kind="stable")
    sizes[largest[: count - sizes.sum()]] += 1
    return sizes


def _check(
    sizes: np.ndarray,
    counts: np.ndarray,
    least: np.ndarray,
    classes: tuple[str, ...],
    fractions: object,
) -> None:
    """Refuses parts that are empty, or have to lack a class that they need."""
    names, total = ("weight", "architecture", "test"), sizes.sum()
    for name, size in zip(names, sizes, strict=False):
        if not size:
            raise UserError(
                f"The {name} part of {total} images is empty with the split "
                f"fractions {fractions}; give more images or other fractions."
            )
    rarest, parts = counts.argmin(), least.sum()
    if counts[rarest] < parts:
        raise UserError(
            f"Class '{classes[rarest]}' has {counts[rarest]} of {total} images, but "
            f"{parts} parts are split off; give at least {parts} images per "
            "class, or leave the class out."
        )
    smallest = sizes[:parts].argmin()
    size = sizes[smallest]
    if size < len(classes):
        name = names[smallest]
        needed = -(-len(classes) * total // size) // len(classes)
        raise UserError(
            f"The {name} part of {total} images has {size} with the split "
            f"fractions {fractions}, fewer than the {len(classes)} classes; give about "
            f"{needed + 1} images per class, or a larger fraction for this part."
        )


def _quotas(
    counts: np.ndarray,
    sizes: np.ndarray,
    least: np.ndarray,
    random: np.random.Generator,
) -> np.ndarray:
    """How many images of each class go to each part.

    Args:
        counts: images of each class, [K].
        sizes: images of each part, [P].
        least: fewest images of a class in each part, [P], 0 or 1.
        random: decides between equal choices.

    Returns:
        Integers [K, P], at least `least`, with the row sums `counts` and the column sums
        `sizes`, near to counts * sizes / N.
    """
    ideal = np.outer(counts, sizes) / sizes.sum()
    quotas = np.maximum(np.floor(ideal), least).astype(int)
    rows = np.arange(len(counts))
    quotas[:, 0] += counts - quotas.sum(1)
    short = rows[quotas[:, 0] < 1]
    quotas[short, quotas[short].argmax(1)] -= 1
    quotas[short, 0] += 1
    tie = random.uniform(0, 1e-6, len(counts))
    while (over := quotas.sum(0) - sizes).any():
        source, target = over.argmax(), over.argmin()
        gap = quotas - ideal
        gain = np.where(
            quotas[:, source] > least[source], gap[:, source] - gap[:, target], -np.inf
        )
        row = (gain + tie).argmax()
        quotas[row, source] -= 1
        quotas[row, target] += 1
    return quotas
