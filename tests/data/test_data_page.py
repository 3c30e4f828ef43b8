"""Every command of docs/data.md reads its data."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import nasjax
from nasjax.experiment.build import build
from nasjax.main import parse_flags

TEXT = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    nasjax run (.*)$", TEXT, re.M)
SIZES = {"resize=24": (24, 24), "resize=(24, 32)": (24, 32), "crop=24": (24, 24),
         "crop=16": (16, 16)}  # fmt: skip

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ml_collections


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)

    def images(folder, count):
        for name in "cat", "dog":
            (root / folder / name).mkdir(parents=True)
            for i in range(count):
                sides = *random.integers(24, 40, 2), 3
                if folder != "pets":
                    sides = (16, 16, 3)
                pixels = random.integers(0, 256, sides, np.uint8)
                Image.fromarray(pixels).save(root / folder / name / f"{i}.png")

    images("pets", 60)
    images("birds/train", 40)
    images("birds/val", 40)
    images("birds/test", 5)
    rows = [f"pets/{n}/{i}.png,{n}" for n in ("cat", "dog") for i in range(60)]
    (root / "pets.csv").write_text("\n".join(["file,label", *rows]))
    image = random.integers(0, 256, (240, 16, 16, 3), np.uint8)
    label = np.array(["cat", "dog"])[np.arange(240) % 2]
    for name in "train", "test":
        np.savez(root / f"{name}.npz", image=image, label=label)
    np.save(root / "train_images.npy", image)
    np.save(root / "train_labels.npy", label)
    return root


@pytest.fixture
def snippet(files, monkeypatch):
    """The snippet without its run; it writes mine.npz."""
    monkeypatch.chdir(files)
    (block,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.M | re.S)
    monkeypatch.setattr(nasjax, "run", lambda *given, data: build(given[0], data))
    made: dict = {}
    exec(compile(block, "docs/data.md", "exec"), made)
    return made["result"]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands(command, snippet):
    domain = build(parse_flags(shlex.split(command)).config).domain
    assert domain.classes[:2] == ("cat", "dog")
    wanted = [size for text, size in SIZES.items() if text in command.replace('"', "")]
    assert domain.image_shape[:2] == (wanted or [(16, 16)])[-1]


def test_the_snippet(snippet):
    assert snippet.domain.classes == ("cat", "dog", "eel")


def test_there_is_a_command_for_every_kind_of_path():
    assert {"mine.npz", "birds", "pets", "pets.csv", "train_images.npy"} <= {
        re.search(r"data.path=(\S+)", command)[1]  # type: ignore[index]
        for command in COMMANDS
    }
