"""The commands of the documentation parse, and name what there is; training is left out."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from nasjax import cli
from nasjax.experiment import build
from nasjax.experiment.defaults import settings
from nasjax.spaces.load import load

DOCS = Path(__file__).parents[1] / "docs"
CELL = str([("sep_conv_3x3", 1), ("sep_conv_3x3", 0)] * 4)
WHOLE = (
    f"Genotype(normal={CELL}, normal_concat=range(2, 6), "
    f"reduce={CELL}, reduce_concat=range(2, 6))"
)


def commands():
    """Every command of a line of its own, with the name of its file."""
    for name in ("command-line", "retraining", "outputs"):
        for line in (DOCS / f"{name}.md").read_text("utf-8").splitlines():
            if re.match(r"    (nasjax|python -m nasjax)\b", line):
                own = re.split(r" {3,}", line.strip())[0]  # what follows is a remark
                yield pytest.param(own, id=f"{name}: {own[:60]}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with what the commands name: a run, images, a module."""
    folder = tmp_path_factory.mktemp("docs")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (800, 32, 32, 3), dtype=np.uint8)
    np.savez(folder / "F.npz", image=images, label=np.arange(800) % 10)
    text = (DOCS / "command-line.md").read_text("utf-8")
    modules = re.findall(r"```python\n(.*?)```", text, re.S)
    for name, module in zip(("block", "mine"), modules, strict=True):
        (folder / f"{name}.py").write_text(module)
    run = folder / "runs" / "study" / "run"
    run.mkdir(parents=True)
    genotype = load("darts_v2").to_json()
    result = {"dataset": "digits", "test_accuracy": 0.9, "genotype": genotype}
    config = settings()
    config.space.name = "darts7"
    for name, value in (("config", config.to_dict()), ("result", result),
                        ("genotype", genotype)):  # fmt: skip
        (run / f"{name}.json").write_text(json.dumps(value))
    return folder


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ml_collections
@pytest.mark.parametrize("command", list(commands()))
def test_commands(command, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    built = []
    monkeypatch.setattr(
        "nasjax.experiment.run.run",
        lambda config, *_: built.append(build.build(config)),
    )
    for name, there in (
        ("FILE.npz", "F.npz"), ("runs/zarts_mgs-default-1a2b3c4d", "runs/study/run"),
        ("RUN", "runs/study/run"), (re.search(r'"Genotype.*"|$', command)[0], f'"{WHOLE}"'),
    ):  # fmt: skip
        command = command.replace(name, there) if name else command
    words = shlex.split(command.replace("python -m nasjax.main", "nasjax run"))[1:]
    if words[0] == "sweep":
        words.append("--list")
    assert cli.main(words) == 0, capsys.readouterr().err
    assert bool(built) == (words[0] in ("run", "retrain"))
