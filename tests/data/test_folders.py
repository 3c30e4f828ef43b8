"""Folders as people have them: systems' files, further levels, all kinds of images."""

import numpy as np
import pytest
from PIL import Image

from nasjax.data.folders import folder
from nasjax.data.sizes import AS_IT_IS
from tests.support.pictures import pictures, refused


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_folder(tmp_path, mode, channels):
    path = pictures(tmp_path / "d", {"cat": 3, "ant": 2}, mode=mode)
    (tmp_path / "d" / "README").write_text("ignored, as hidden files are")
    for name in (".hidden", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / "d" / "cat" / name).write_text("x")
    (tmp_path / "d" / "__MACOSX").mkdir()
    (tmp_path / "d" / ".cache").mkdir()
    data = folder(path)
    assert data.classes == ("ant", "cat") and not data.notes
    assert data.label.tolist() == [0, 0, 1, 1, 1] and data.label.dtype == np.int32
    # A size (width, height) of (5, 4) is [4, 5] in arrays; pixel i in image i.
    assert data.image.shape == (5, 4, 5, channels) and data.image.dtype == np.uint8
    assert data.image[:, 2, 3, 0].tolist() == [0, 1, 0, 1, 2]


def test_folder_refuses(tmp_path):
    def case(name, counts, **more):
        return pictures(tmp_path / name, counts, **more)

    (tmp_path / "empty").mkdir()
    refused("0 sub-folder", folder, str(tmp_path / "empty"))
    refused("1 sub-folder", folder, case("one", {"a": 2}))
    hole = case("hole", {"a": 1, "b": 0})
    refused(f"'{hole}/b' is empty", folder, hole)
    (tmp_path / "hole" / "b" / ".DS_Store").write_text("x")
    refused(f"'{hole}/b' is empty", folder, hole)
    (tmp_path / "hole" / "b" / "boxes.txt").write_text("x")
    refused("no images, only other files such as", folder, hole)
    path = case("size", {"a": 1, "b": 1})
    Image.new("RGB", (6, 4)).save(tmp_path / "size" / "b" / "9.png")
    refused("b/9.png' is 4x6", folder, path)
    path = case("torn", {"a": 1, "b": 1})
    torn = tmp_path / "torn" / "b" / "0.png"
    torn.write_bytes(torn.read_bytes()[:45])
    refused("b/0.png' cannot be read", folder, path)
    path = case("phone", {"a": 1, "b": 1})
    (tmp_path / "phone" / "b" / "1.HEIC").write_bytes(b"ftypheic")
    refused("b/1.HEIC' cannot be read", folder, path)


def test_further_levels(tmp_path):
    """One folder in a class folder is a level of its own; several are a mistake."""
    pictures(tmp_path / "d" / "ant", {"images": 2})
    pictures(tmp_path / "d", {"bee": 1})
    (tmp_path / "d" / "ant" / "boxes.txt").write_text("x")
    data = folder(str(tmp_path / "d"))
    assert data.label.tolist() == [0, 0, 1]
    assert data.notes[0].startswith("1 file(s) skipped as no image, such as")
    refused(f"give '{tmp_path}/d'", folder, str(tmp_path))
    pictures(tmp_path / "e" / "animals", {"ant": 1, "bee": 1})
    pictures(tmp_path / "e" / "plants", {"elm": 1, "fir": 1})
    refused("animals' holds 2 folder(s) (ant, ...)", folder, str(tmp_path / "e"))
    pictures(tmp_path / "d" / "bee", {"more": 1})
    refused("bee' holds 1 folder(s) (more)", folder, str(tmp_path / "d"))


COLOUR = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), "RGB"
)


def two(root, *images, ending="png", **options):
    """A folder of two classes; the second holds a plain colour image."""
    (root / "a").mkdir(parents=True)
    (root / "b").mkdir()
    for i, image in enumerate(images):
        image.save(root / "a" / f"{i}.{ending}", **options)
    COLOUR.save(root / "b" / "0.png")
    return folder(str(root))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_photos_is_applied(tmp_path, orientation):
    turned = COLOUR
    for method in {
        2: [Image.Transpose.FLIP_LEFT_RIGHT],
        3: [Image.Transpose.ROTATE_180],
        4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE],
        6: [Image.Transpose.ROTATE_90],
        7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }.get(orientation, []):
        turned = turned.transpose(method)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = two(tmp_path / "d", turned, exif=exif)
    np.testing.assert_array_equal(data.image[0], data.image[1])
    assert not data.notes


@pytest.mark.parametrize("ending", ["png", "gif"])
def test_palettes_become_colours(tmp_path, ending):
    image = COLOUR.quantize(256)
    data = two(tmp_path / "d", image, ending=ending)
    np.testing.assert_array_equal(data.image[0], data.image[1])
    assert not data.notes


def test_what_is_lost_is_said(tmp_path):
    """Each kind in one sentence with the number of files and an example."""
    black = Image.new("RGB", COLOUR.size)
    frames = two(tmp_path / "gif", COLOUR.quantize(256), ending="gif",
                 save_all=True, append_images=[black])  # fmt: skip
    np.testing.assert_array_equal(frames.image[0], frames.image[1])
    assert "1 image(s) animated, only the first frame was read" in frames.notes[0]

    grey = np.arange(48, dtype=np.uint16).reshape(6, 8) * 1285
    deep = two(tmp_path / "deep", *[Image.fromarray(grey)] * 2)
    assert deep.image[0, 0, :3, 0].tolist() == [0, 5, 10]
    assert "2 image(s) of 16 bits, rounded to 8" in deep.notes[0]

    printed = two(tmp_path / "cmyk", COLOUR.convert("CMYK"), ending="tif")
    assert "of mode CMYK" in printed.notes[0] and printed.image.shape[-1] == 3

    clear = COLOUR.copy()
    clear.putalpha(128)
    mixed = two(tmp_path / "alpha", clear)
    assert "transparency was dropped" in mixed.notes[0]
    np.testing.assert_array_equal(mixed.image[0], mixed.image[1])
    clear.putalpha(255)
    assert not two(tmp_path / "opaque", clear).notes


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_grey_among_colours_becomes_colours(tmp_path, mode):
    grey = COLOUR.convert("L").convert(mode)
    data = two(tmp_path / "d", grey)
    expected = np.asarray(grey.convert("RGB"))
    np.testing.assert_array_equal(data.image[0], expected)
    assert not data.notes


def test_floats_of_unknown_range_are_refused(tmp_path):
    wild = Image.fromarray(np.full((6, 8), 1e6, np.float32))
    with pytest.raises(Exception, match="mode F and numbers outside"):
        two(tmp_path / "wild", wild, ending="tif")
    half = Image.fromarray(np.full((6, 8), 0.5, np.float32))
    assert two(tmp_path / "half", half, ending="tif").image[0, 0, 0, 0] == 128


def test_test_images_follow_the_training_images(tmp_path):
    root = pictures(tmp_path / "d", {"a": 1, "b": 1}, mode="L")
    assert folder(root, ("a", "b"), channels=3).image.shape[-1] == 3
    assert folder(root, ("a", "b"), channels=4).image[..., 3].min() == 255
    same = pictures(tmp_path / "e", {"a": 1}, mode="RGB")
    assert folder(same, ("a", "b"), channels=1).image.shape[-1] == 1
    COLOUR.resize((5, 4)).save(tmp_path / "e" / "a" / "9.png")
    refused("has colours but", folder, same, ("a", "b"), AS_IT_IS, 1)
