"""Layouts and labels of arrays that users have, in files and in memory."""

import re
import subprocess
import sys

import numpy as np
import pytest

from nasjax.data import sources
from nasjax.data.arrays import Origin, channels_first, checked
from nasjax.data.files import npz
from nasjax.data.memory import address, read
from nasjax.data.sizes import Resize
from tests.support.pictures import refused

FIRST = [(4, 32, 32), (3, 32, 48), (3, 48, 32), (3, 4, 4), (1, 28, 28), (1, 2, 2),
         (2, 16, 16), (13, 64, 64), (3, 224, 5)]  # fmt: skip
LAST = [(32, 32, 4), (4, 32, 3), (3, 32, 4), (2, 9, 1), (1, 32, 3), (28, 28, 1),
        (4, 4, 3), (9, 9, 200), (10, 100, 30), (8, 8, 8), (3, 3, 3)]  # fmt: skip


@pytest.mark.parametrize("shape", FIRST)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_channels_first_is_named(tmp_path, shape, dtype):
    image = np.zeros((20, *shape), dtype)
    label = np.arange(20) % 2
    np.savez(tmp_path / "x.npz", image=image, label=label)
    refused("channels first", npz, str(tmp_path / "x.npz"))
    refused("give image.transpose(0, 2, 3, 1)", checked, image, label, None, Origin(""))


@pytest.mark.parametrize("shape", LAST)
def test_channels_last_is_read(shape):
    assert not channels_first((20, *shape))


@pytest.mark.parametrize("axes", [(0, 3, 1, 2), (1, 2, 3, 0)])
def test_the_printed_command_makes_the_file_readable(tmp_path, axes):
    """Also for a path with spaces and quotes, and with further arrays."""
    image = np.random.default_rng(0).integers(0, 256, (20, 8, 9, 3), np.uint8)
    path = tmp_path / "it's mine.npz"
    np.savez(path, image=image.transpose(axes), label=np.arange(20) % 2, extra=1)
    text = refused("expected [N, height, width, channels]", npz, str(path))
    command = re.search(r"type python (-c .*) to write it so to (.*)\.$", text)
    assert command is not None
    subprocess.run(f"{sys.executable} {command[1]}", shell=True, check=True)
    np.testing.assert_array_equal(npz(command[2]).image, image)


@pytest.mark.parametrize("kind", [str, np.bytes_])
def test_labels_may_be_names(tmp_path, kind):
    names = np.array(["dog", "cat", "dog", "eel"]).astype(kind)
    np.savez(tmp_path / "x.npz", image=np.zeros((4, 8, 8)), label=names)
    data = npz(str(tmp_path / "x.npz"))
    assert data.classes == ("cat", "dog", "eel")
    assert data.label.tolist() == [1, 0, 1, 2] and data.label.dtype == np.int32
    np.savez(tmp_path / "y.npz", image=np.zeros((1, 8, 8)), label=np.array(["eel"]))
    assert npz(str(tmp_path / "y.npz"), data.classes).label.tolist() == [2]
    refused("'eel', which is not", npz, str(tmp_path / "y.npz"), ("cat", "dog"))
    np.savez(tmp_path / "z.npz", image=np.zeros((1, 8, 8)), label=np.array([1]))
    refused("among cat, dog, eel", npz, str(tmp_path / "z.npz"), data.classes)


@pytest.mark.parametrize(
    ("label", "classes"),
    [
        ([5, 0, 9, 5], ("0", "5", "9")),
        (np.array([10, 2, 1, 2], np.uint8), ("1", "2", "10")),
        ([True, False, True, True], ("False", "True")),
        (np.array(["b", "a", "b", "b"], object), ("a", "b")),
        (np.array([b"b", b"a", b"b", b"b"], object), ("a", "b")),
        (np.array([7, 3, np.int64(3), 3], object), ("3", "7")),
        (np.array([[1], [0], [1], [1]]), ("0", "1")),
        (np.array(["b", "a", "b", "b"], np.dtypes.StringDType()), ("a", "b")),
    ],
)
def test_labels_of_any_kind_name_the_classes(label, classes):
    data, none = read((np.zeros((4, 8, 8)), label))
    assert none is None and data.classes == classes and data.label.dtype == np.int32
    names = [classes[index] for index in data.label]
    assert names == [
        str(np.array(each).astype("U")) for each in np.ravel(label).tolist()
    ]
    train, test = read(
        ((np.zeros((4, 8, 8)), label), (np.zeros((1, 8, 8)), label[1:2]))
    )
    assert test is not None and test.classes == classes
    assert test.label.tolist() == train.label[1:2].tolist()


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (["a", None, "b", "a"], "(NoneType, str)"),
        (np.array(["a", np.nan, "b", "a"], object), "(float, str)"),
        ([[1, 0], [0, 1], [1, 0], [1, 0]], "give label.argmax(1)"),
        ([0.0, 1.0, 1.0, 1.0], "give label.astype(int)"),
    ],
)
def test_labels_refused(label, words):
    refused(words, read, (np.zeros((4, 8, 8)), label))


def test_gaps_in_the_labels_are_said():
    (note,) = read((np.zeros((4, 8, 8)), [1, 2, 10, 2]))[0].notes
    assert "3 numbers from 1 to 10" in note
    assert not read((np.zeros((4, 8, 8)), [0, 1, 2, 1]))[0].notes


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_of_different_sizes_in_a_list(dtype):
    images = [np.ones(shape, dtype) for shape in [(8, 9, 3), (12, 8, 3), (8, 8, 3)]]
    label = ["a", "b", "a"]
    refused("--config.data.resize=8", read, (images, label))
    ragged = np.empty(3, object)
    ragged[:] = images
    for given in images, ragged:
        made = read((given, label), Resize(6))[0].image
        assert made.shape == (3, 6, 6, 3)
        assert (made == (1 if dtype == np.uint8 else 255)).all()
    assert read((images, label), Resize(0, 8, 2))[0].image.shape == (3, 4, 4, 3)
    changed = [*images[:2], images[2] * 0]
    assert address((images, label)) == address((ragged, label))
    assert address((images, label)) != address((changed, label))
    images[1] = images[1][..., 0]  # grey among colours
    assert read((images, label), Resize(6))[0].image.shape == (3, 6, 6, 3)
    grey = [images[1], images[1][1:]]
    train, test = read(((images, label), (grey, ["a", "b"])), Resize(6))
    assert test is not None and test.image.shape[1:] == train.image.shape[1:]


GREY, COLOUR = np.full((8, 9), 7, np.uint8), np.arange(216, dtype=np.uint8)
COLOUR = COLOUR.reshape(8, 9, 3)
ODD = np.concatenate([COLOUR, COLOUR], -1)[..., :5]
CHANNELS = {
    "grey, then colours": (([GREY] * 2, [COLOUR] * 2), "'test data' is {} with 3 ch"),
    "colours, then grey": (([COLOUR] * 2, [GREY] * 2), "'data' is {} with 3 channel"),
    "bands and colours": (([COLOUR, ODD],), "'1 of the data' is {} with 5 channel(s)"),
    "grey and bands": (([GREY, GREY, ODD],), "'2 of the data' is {} with 5 channel(s)"),
}


@pytest.mark.parametrize("size", [0, 6])
@pytest.mark.parametrize("case", CHANNELS)
def test_other_channels_are_not_a_matter_of_the_size(case, size):
    parts, words = CHANNELS[case]
    pairs = tuple((images, [0, 1, 1][: len(images)]) for images in parts)
    given = pairs if pairs[1:] else pairs[0]
    sides = "6x6" if size else "8x9"
    text = refused(words.format(sides), sources.given, given, "", Resize(size))
    assert "convert all images to grey, or all to colours" in text
    assert "resize" not in text


def test_notes_on_a_list_speak_of_images():
    clear = np.zeros((8, 8, 4), np.uint8)
    (note,) = read(([clear, COLOUR[:, :8]], [0, 1]))[0].notes
    assert note.startswith("1 image(s) whose transparency was dropped")


def test_lists_of_other_things():
    from PIL import Image

    label = [0, 1]
    photos = [Image.new("RGB", size) for size in ((9, 8), (8, 12))]
    assert read((photos, label), Resize(6))[0].image.shape == (2, 6, 6, 3)
    refused("--config.data.resize=8", read, (photos, label))
    nested = [[[0.0, 1.0]] * 3, [[1.0, 0.0, 1.0]] * 2]
    assert read((nested, label), Resize(2))[0].image.shape == (2, 2, 2, 1)
    refused(
        "'1 of the data' is float64 from 9 to 9", read, ([nested[0], [[9.0]]], label)
    )
    refused("Python objects", read, ([None, None], label))
    refused("shape", read, ([1, 2], label))


STEPS = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16, 1)


@pytest.mark.parametrize(
    ("size", "crop", "shape", "corner"),
    [
        (0, 4, (4, 4), STEPS[4:8, 6:10]),
        (0, (6, 10), (6, 10), STEPS[3:9, 3:13]),
        (12, True, (12, 12), STEPS[:, 2:14]),  # the shortest side stays
        (12, 8, (8, 8), STEPS[2:10, 4:12]),
        ((12, 16), False, (12, 16), STEPS),
        ((6, 8), True, (6, 8), None),
        ((6, 6), False, (6, 6), None),
        ((24, 16), True, (24, 16), None),
        ([6, 16], True, (6, 16), STEPS[3:9]),
    ],
)
def test_sizes(size, crop, shape, corner):
    """Whole pixels where nothing is scaled; always the middle, whose mean is kept."""
    made = Resize(size, crop).of(STEPS, "x")
    assert made.shape == (*shape, 1) and made.dtype == np.uint8
    if corner is not None:
        np.testing.assert_array_equal(made, corner)
    assert abs(made.mean() - STEPS.mean()) < 1


def test_a_crop_larger_than_the_image_is_refused():
    refused("x is 12x16, smaller", Resize(0, 13).of, STEPS, "x")
    refused("x is 6x8 after resizing, smaller", Resize(6, 7).of, STEPS, "x")
