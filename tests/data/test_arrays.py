"""Layouts and labels of arrays that users have, in files and in memory."""

import re
import subprocess
import sys

import numpy as np
import pytest

from nasjax.data.arrays import Origin, channels_first, checked
from nasjax.data.files import npz
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
    refused("have names", npz, str(tmp_path / "z.npz"), data.classes)
