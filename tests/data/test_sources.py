"""Sources against files written here by hand, sklearn's own array and real CIFAR-10."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nasjax.data import sources
from nasjax.data.augment import NORMALISATION, statistics
from nasjax.data.files import npz
from nasjax.data.folders import folder
from nasjax.data.sizes import Resize
from tests.support.pictures import pictures, refused

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
CIFAR = Path(os.environ.get("NASJAX_DATA", SHARED)) / "cifar10"

IMAGE = np.arange(6 * 4 * 5 * 3, dtype=np.uint8).reshape(6, 4, 5, 3)
LABEL = np.array([0, 1, 2, 0, 1, 2])


def save(path, image=IMAGE, label=LABEL, **more):
    np.savez(path, image=image, label=label, **more)
    return str(path)


def test_digits_are_sklearns_rescaled():
    from sklearn.datasets import load_digits

    data = sources.digits()
    assert data.image.shape == (1797, 8, 8, 1) and data.image.dtype == np.uint8
    assert data.label.dtype == np.int32 and data.classes == tuple("0123456789")
    # 17 grey levels, the ends of the range kept, each recoverable.
    assert len(np.unique(data.image)) == 17 and data.image.max() == 255
    back = np.round(data.image[..., 0] / 255 * 16)
    np.testing.assert_array_equal(back, load_digits().images)
    # Counts published with the data set.
    published = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(data.label).tolist() == published


def test_npz_uint8(tmp_path):
    data = npz(save(tmp_path / "x.npz", extra=np.zeros(3)))
    np.testing.assert_array_equal(data.image, IMAGE)
    np.testing.assert_array_equal(data.label, LABEL)
    assert data.classes == ("0", "1", "2") and data.label.dtype == np.int32


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_npz_float_is_the_uint8_it_came_from(tmp_path, dtype):
    levels = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    floats = (levels / 255).astype(dtype)
    path = save(tmp_path / "x.npz", floats, np.array([0, 1, 0, 1], np.uint8))
    image = npz(path).image
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, levels[..., None])


NAN = np.where(np.arange(360).reshape(IMAGE.shape) == 7, np.nan, 0.5)


@pytest.mark.parametrize(
    ("image", "label", "expected"),
    [
        (IMAGE[0, 0], LABEL, "shape (5, 3)"),
        (IMAGE[:0], LABEL[:0], "at least one image"),
        (np.zeros((6, 3, 8, 8), np.uint8), LABEL, "channels first"),
        (IMAGE.astype(np.int64), LABEL, "int64"),
        (IMAGE > 3, LABEL, "bool"),
        (NAN, LABEL, "NaN"),
        (IMAGE.astype(np.float32), LABEL, "from 0 to 255"),
        (IMAGE / 255 - 0.5, LABEL, "from -0.5"),
        (np.full(IMAGE.shape, np.inf), LABEL, "inf"),
        (IMAGE.astype(object), LABEL, "any code"),
        (IMAGE, LABEL.astype(object), "numpy.array(label.tolist()).astype(str)"),
        (IMAGE, LABEL[:5], "(5,) for 6 image"),
        (IMAGE, np.eye(3)[LABEL], "one-hot"),
        (IMAGE, LABEL.astype(float), "].astype(int)"),
        (IMAGE, LABEL + 0.5, "float64; expected integers from 0, or strings"),
        (IMAGE, LABEL * np.nan, "float64; expected integers from 0, or strings"),
        (IMAGE, LABEL.astype("M8[s]"), "datetime64"),
        (IMAGE, np.array(["a", ""] * 3), "an empty string"),
        (IMAGE, LABEL - 1, "contains -1"),
        (IMAGE, np.array(["a"] * 6), "one class only"),
        (IMAGE, LABEL * 0, "one class only"),
    ],
)
def test_npz_refuses(tmp_path, image, label, expected):
    refused(expected, npz, save(tmp_path / "x.npz", image, label))


def test_npz_refuses_what_is_no_such_archive(tmp_path):
    refused("does not exist", sources.load, "cifar10", str(tmp_path / "none.npz"))
    refused("No such file", npz, str(tmp_path / "none.npz"))
    np.save(tmp_path / "array.npy", IMAGE)
    refused("not an .npz", npz, str(tmp_path / "array.npy"))
    (tmp_path / "text.npz").write_text("image,label\n")
    refused("not an .npz", npz, str(tmp_path / "text.npz"))
    np.savez(tmp_path / "keys.npz", x=IMAGE, label=LABEL)
    refused("'image' (it holds x, label)", npz, str(tmp_path / "keys.npz"))
    whole = Path(save(tmp_path / "whole.npz")).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[:300])
    refused("cut short", npz, str(tmp_path / "cut.npz"))
    (tmp_path / "rot.npz").write_bytes(whole.replace(IMAGE.tobytes()[:9], b"x" * 9))
    refused("cannot be read", npz, str(tmp_path / "rot.npz"))


def test_load_by_name():
    train, test, name = sources.load("digits")
    assert len(train.image) == 1797 and test is None and name == "digits"
    refused("--config.data.path", sources.load, "cifar100")
    refused("did you mean 'cifar10'", sources.load, "cifar-10")
    refused("--config.data.path", sources.load, "digits", "", "test.npz")


def test_load_files(tmp_path):
    path = save(tmp_path / "mine.npz")
    assert sources.load("digits", path)[2] == "mine"
    assert sources.load("cifar10", path)[2] == "cifar10"
    # A test file may lack classes, even all but one; it may not add any.
    other = save(tmp_path / "test.npz", IMAGE[:2], LABEL[:1].repeat(2))
    _, test, _ = sources.load("digits", path, other)
    assert test is not None and test.classes == ("0", "1", "2") and len(test.label) == 2
    refused("training and as test", sources.load, "", path, path)
    more = save(tmp_path / "more.npz", IMAGE, LABEL + 1)
    refused("'3', which is not a class", sources.load, "", path, more)
    for size, shape in ("4x4", IMAGE[:, :, :4]), ("with 1", IMAGE[..., :1]):
        refused(size, sources.load, "", path, save(tmp_path / f"{size}.npz", shape))


def test_load_folders(tmp_path):
    path = pictures(tmp_path / "train", {"ant": 2, "bee": 1, "cat": 1})
    train, test, name = sources.load(
        "digits", path, pictures(tmp_path / "test", {"cat": 2})
    )
    assert name == "train" and len(train.label) == 4
    assert test is not None and test.label.tolist() == [2, 2]
    wrong = pictures(tmp_path / "wrong", {"dog": 1})
    refused("'dog'", sources.load, "", path, wrong)


def test_load_the_parts_in_a_folder(tmp_path):
    """train, val and test are read as these parts; otherwise the level is named."""
    path, counts = str(tmp_path / "set"), {"ant": 2, "bee": 3}
    pictures(tmp_path / "set" / "train", counts)
    pictures(tmp_path / "set" / "Val", {"bee": 1})
    train, test, name = sources.load("digits", path)
    assert name == "set" and train.label.tolist() == [0, 0, 1, 1, 1]
    assert test is not None and test.label.tolist() == [1]
    assert "architecture: train; test: Val" in train.notes[0]
    refused(f"--config.data.path={path}/train", sources.load, "", path, path)
    refused("one level too high; give", folder, path)
    refused(f"give '{path}'", sources.load, "", str(tmp_path))
    pictures(tmp_path / "set" / "test", {"ant": 1})
    train, test, _ = sources.load("", path)
    assert train.label.tolist() == [0, 0, 1, 1, 1, 1]
    assert test is not None and test.label.tolist() == [0]
    assert "architecture: train, Val; test: test" in train.notes[0]
    pictures(tmp_path / "flat" / "train", counts)
    (tmp_path / "flat" / "test").mkdir()
    refused("flat/train alone", sources.load, "", str(tmp_path / "flat"))


def test_classes_may_have_the_names_of_parts(tmp_path):
    """A train is also a vehicle."""
    path = pictures(tmp_path / "d", {"train": 2, "test": 2})
    assert sources.load("", path)[0].classes == ("test", "train")


@pytest.mark.parametrize("crop", [True, False])
def test_resize_in_files_of_both_kinds(tmp_path, crop):
    """A cross-section of colours shows what is cut off."""
    wide = np.zeros((4, 8, 24, 3), np.uint8)
    wide[:, :, :8], wide[:, :, 16:] = 255, 255  # black in the middle third
    path = save(tmp_path / "x.npz", wide, np.array([0, 1, 0, 1]))
    small = sources.load("", path, "", Resize(4, crop))[0].image
    assert small.shape == (4, 4, 4, 3)
    assert small[0, 0, 0, 0] == 0 if crop else small[0, 0, 0, 0] > 200
    root = pictures(tmp_path / "d", {"a": 1, "b": 1})
    pictures(tmp_path / "d" / "b", {"inner": 2}, size=(9, 7))
    (tmp_path / "d" / "b" / "0.png").unlink()
    refused("--config.data.resize=4", sources.load, "", root)
    data = sources.load("", root, "", Resize(6, crop, 2))[0]
    assert data.image.shape == (3, 3, 3, 3)


def test_npy_has_its_labels_next_to_it(tmp_path):
    np.save(tmp_path / "train_images.npy", IMAGE)
    path = str(tmp_path / "train_images.npy")
    refused("train_labels.npy' next to", sources.load, "", path)
    np.save(tmp_path / "train_labels.npy", np.array(["b", "a"])[LABEL % 2])
    train, _, name = sources.load("", path)
    np.testing.assert_array_equal(train.image, IMAGE)
    assert name == "train_images" and train.classes == ("a", "b")
    assert train.label.tolist() == [1, 0, 1, 1, 0, 1]
    np.save(tmp_path / "x.npy", IMAGE)
    refused(
        "in a file like train_labels.npy", sources.load, "", str(tmp_path / "x.npy")
    )
    np.save(tmp_path / "train_labels.npy", LABEL.astype(object))
    refused("any code", sources.load, "", path)
    np.save(tmp_path / "train_labels.npy", LABEL.astype(float))
    text = refused("to write it so to", sources.load, "", path)
    command = text[text.index("python -c") + 6 : text.index(" to write it so")]
    subprocess.run(f"{sys.executable} {command}", shell=True, check=True)
    fixed = sources.load("", str(tmp_path / "train_images_fixed.npz"))[0]
    assert fixed.label.tolist() == LABEL.tolist()


@pytest.mark.parametrize("header", ["", "file,label\n"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_a_table_names_files_and_labels(tmp_path, header, mark):
    pictures(tmp_path, {"images": 4})
    rows = "".join(f"images/{i}.png,{label}\n" for i, label in enumerate("badb"))
    path = tmp_path / "train.csv"
    path.write_text((header + rows).replace(",", mark))
    data = sources.load("", str(path))[0]
    assert data.classes == ("a", "b", "d") and data.label.tolist() == [1, 0, 2, 1]
    assert data.image[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_tables_refused_and_numbers_in_them(tmp_path):
    pictures(tmp_path, {"images": 12})
    path = tmp_path / "train.csv"
    path.write_text("".join(f"images/{i}.png,{i}\n" for i in range(12)))
    assert sources.load("", str(path))[0].label.tolist() == list(range(12))
    path.write_text("images/0.png,a\nimages/none.png,b\n")
    refused("Line 2 of", sources.load, "", str(path))
    path.write_text("images/typo.JPG,b\nimages/0.png,a\n")  # no header
    refused("Line 1 of", sources.load, "", str(path))
    path.write_text("images/0.png,-1\nimages/1.png,3\n")
    refused("contains -1", sources.load, "", str(path))
    path.write_text("label,pixel0,pixel1\n1,0,0\n")
    refused("has 3 column(s)", sources.load, "", str(path))
    path.write_text("")
    refused("names no image that exists", sources.load, "", str(path))
    path.write_bytes(b"\xff\xfe\x00")
    refused("cannot be read", sources.load, "", str(path))


LONG = 10**20


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([LONG, 9, LONG], ("9", str(LONG))),
        ([2**63, 9, 10], ("9", "10", str(2**63))),
        (["1" * 5000, "9", "9"], ("1" * 5000, "9")),
        (["007", "7", "10"], ("007", "10", "7")),
        (["-1", "cat", "-1"], ("-1", "cat")),
    ],
)
def test_labels_of_any_length_in_a_table(tmp_path, labels, classes):
    pictures(tmp_path, {"images": 3})
    path = tmp_path / "ids.csv"
    path.write_text("".join(f"images/{i}.png,{labels[i]}\n" for i in range(3)))
    train, test, _ = sources.load("", str(path))
    assert train.classes == classes
    assert [classes[index] for index in train.label] == list(map(str, labels))
    (tmp_path / "test.csv").write_text(f"images/0.png,{labels[0]}\n")
    _, test, _ = sources.load("", str(path), str(tmp_path / "test.csv"))
    assert test is not None and test.label.tolist() == train.label[:1].tolist()
    image, labels = np.zeros((3, 8, 8), np.uint8), np.array(labels, object)
    assert sources.given((image, labels), "", Resize())[0].classes == classes


@pytest.mark.skipif(not CIFAR.is_dir(), reason="needs NASJAX_DATA/cifar10")
def test_real_cifar10():
    paths = [str(CIFAR / f"cifar10_{part}.npz") for part in ("valid", "test")]
    train, test, name = sources.load("cifar10", *paths)
    assert test is not None and name == "cifar10" and len(train.classes) == 10
    assert train.image.shape == (2000, 32, 32, 3) and test.image.shape[0] == 1000
    assert np.bincount(train.label).tolist() == [200] * 10
    # The published statistics are of the 50,000 images this is a sample of.
    np.testing.assert_allclose(
        statistics(train.image), NORMALISATION["cifar10"], atol=0.01
    )
