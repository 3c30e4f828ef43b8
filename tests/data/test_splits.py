"""Splits of data in which every image carries its own number."""

import numpy as np
import pytest

from nasjax.core.errors import UserError
from nasjax.data.sources import Arrays, digits
from nasjax.data.splits import split


def numbered(count, classes=2):
    """Images whose four pixels spell their index; labels in turn."""
    image = np.arange(count, dtype="<u4").view(np.uint8).reshape(count, 2, 2, 1)
    label = np.arange(count, dtype=np.int32) % classes
    return Arrays(image, label, tuple(map(str, range(classes))))


def numbers(part):
    return part.image.reshape(len(part.image), 4).copy().view("<u4")[:, 0]


@pytest.mark.parametrize("fractions", [(0.4, 0.4, 0.2), (0.7, 0.1, 0.2)])
def test_parts_are_a_partition_with_labels_kept(fractions):
    parts = split(numbered(1000), None, fractions, seed=3)
    found = [numbers(part) for part in parts[:3]]
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(1000))
    assert [len(f) for f in found] == [round(f * 1000) for f in fractions]
    for part in parts[:3]:
        np.testing.assert_array_equal(numbers(part) % 2, part.label)
    # Shuffled: about half of the first part comes from the first half.
    assert 0.4 < np.mean(found[0] < 500) < 0.6


def test_digits_sizes():
    weights, arch, test, classes = split(digits())
    assert [len(p.label) for p in (weights, arch, test)] == [719, 719, 359]
    assert len(classes) == 10


def test_seed_decides():
    one, same, other = (split(numbered(100), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.arch.image, same.arch.image)
    assert (numbers(one.arch) != numbers(other.arch)).any()


@pytest.mark.parametrize("fractions", [(0.4, 0.4, 0.2), (0.5, 0.5, 0)])
def test_separate_test_is_kept_and_the_rest_shared_out(fractions):
    test = numbered(7)
    parts = split(numbered(101), test, fractions)
    assert sorted((len(parts.weights.label), len(parts.arch.label))) == [50, 51]
    np.testing.assert_array_equal(parts.test.image, test.image)


@pytest.mark.parametrize(
    "fractions",
    [(0.5, 0.5), (0.5, 0.5, 0), (0.4, 0.4, 0.4), (1.2, -0.4, 0.2), "abc", None,
     (np.nan, 0.5, 0.5), (np.inf, 0.5, 0.5)],
)  # fmt: skip
def test_fractions_refused(fractions):
    with pytest.raises(UserError, match="expected three positive numbers"):
        split(numbered(100), None, fractions)


@pytest.mark.parametrize("seed", [-1, None, 1.5, "0"])
def test_seed_refused(seed):
    with pytest.raises(UserError, match="split seed"):
        split(numbered(100), seed=seed)


def test_empty_part_and_absent_class_refused():
    with pytest.raises(UserError, match="architecture part of 4 images is empty"):
        split(numbered(4), None, (0.9, 0.05, 0.05))
    rare = numbered(100)
    rare.label[:] = 0
    rare.label[numbers(split(rare).arch)[0]] = 1
    with pytest.raises(UserError, match="has none of class '1'"):
        split(rare)
