"""Splits of data in which every image carries its own number."""

import numpy as np
import pytest

from nasjax.core.errors import UserError
from nasjax.data.arrays import Arrays
from nasjax.data.sources import digits
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


def test_empty_part_refused():
    with pytest.raises(UserError, match="architecture part of 4 images is empty"):
        split(numbered(4), None, (0.9, 0.05, 0.05))


@pytest.mark.parametrize(
    ("counts", "fractions"),
    [
        ([10] * 102, (0.4, 0.4, 0.2)),
        ([5] * 1000, (0.4, 0.4, 0.2)),
        ([3] * 7, (0.34, 0.33, 0.33)),
        ([3, 3, 3, 200], (0.9, 0.05, 0.05)),
        ([3, 50, 400], (0.02, 0.02, 0.96)),
        ([3, 50, 400], (0.02, 0.96, 0.02)),
        (list(range(3, 60)), (0.5, 0.3, 0.2)),
    ],
)
@pytest.mark.parametrize("separate", [False, True])
def test_every_part_holds_every_class(counts, fractions, separate):
    """Exact sizes of the parts, and shares of a class within two images."""
    label = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    data = numbered(len(label), len(counts))._replace(label=label)
    for seed in range(3):
        made = split(data, numbered(4) if separate else None, fractions, seed)
        parts = made[:2] if separate else made[:3]
        shares = np.array(fractions[: len(parts)]) / sum(fractions[: len(parts)])
        sizes = np.array([len(part.label) for part in parts])
        assert sizes.sum() == len(label)
        assert (np.abs(sizes - shares * len(label)) < 1).all()
        for part, size in zip(parts, sizes, strict=True):
            found = np.bincount(part.label, minlength=len(counts))
            assert found.min() >= 1
            ideal = np.array(counts) * size / len(label)
            if min(counts) * shares.min() >= 1:  # else one image each comes first
                assert (np.abs(found - ideal) < 2).all()
        numbers_of = np.concatenate([numbers(part) for part in parts])
        np.testing.assert_array_equal(np.sort(numbers_of), np.arange(len(label)))


@pytest.mark.parametrize("counts", [[8] * 10, [2, 2, 2, 40], [3] * 5, [30, 9, 2]])
def test_a_test_part_on_which_nothing_is_judged_may_lack_classes(counts):
    label = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    data = numbered(len(label), len(counts))._replace(label=label)
    with pytest.raises(UserError):
        split(data, None, (0.49, 0.49, 0.02), 0, judged=True)
    for share in 0.1, 0.05:
        made = split(data, None, (0.5 - share / 2, 0.5 - share / 2, share), 0, False)
        for part in made[:2]:
            assert np.bincount(part.label, minlength=len(counts)).min() >= 1
        sizes = [len(part.label) for part in made[:3]]
        assert sum(sizes) == len(label) and abs(sizes[2] - share * len(label)) < 1
        found = np.concatenate([numbers(part) for part in made[:3]])
        np.testing.assert_array_equal(np.sort(found), np.arange(len(label)))
    with pytest.raises(UserError, match="has 1 of .* but 2 parts are split off"):
        rare = data._replace(label=np.minimum(label, 1)[::-1].copy())
        rare.label[:] = 0
        rare.label[0] = 1
        split(rare._replace(classes=("a", "b")), None, (0.45, 0.45, 0.1), 0, False)


def test_too_few_images_of_a_class_or_in_a_part_are_refused():
    rare = numbered(100)
    rare.label[:] = 0
    rare.label[:2] = 1
    with pytest.raises(UserError, match="Class '1' has 2 of 100 .* at least 3 images"):
        split(rare)
    assert (np.bincount(split(rare, numbered(4)).arch.label) > 0).all()
    with pytest.raises(UserError, match=r"test part of 40 images has 8 .* 10 classes; "
                       "give about 6 images per class"):  # fmt: skip
        split(numbered(40, 10))
    split(numbered(60, 10))
