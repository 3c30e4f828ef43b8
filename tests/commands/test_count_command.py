"""`nasjax count RUN`: the network that the run retrains, not the usual one."""

import json

import numpy as np
import pytest

from nasjax.cli import main
from nasjax.experiment.build import build
from nasjax.experiment.defaults import settings
from nasjax.spaces.load import load


@pytest.fixture
def begun(tmp_path):
    """The folder of a run that has found an architecture, on images of 10x12x2."""
    rng = np.random.default_rng(0)
    label = np.arange(120, dtype=np.int32) % 3
    image = rng.integers(0, 256, (120, 10, 12, 2), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", image=image, label=label)
    config = settings()
    config.space.name = "darts7"
    config.data.path = str(tmp_path / "data.npz")
    config.retrain.update(channels=6, cells=4, auxiliary=0.4, batch=16)
    config.search.batch = 16
    experiment = build(config)
    genotype = load("pdarts")
    folder = tmp_path / "run"
    folder.mkdir()
    for name, value in (
        ("config", experiment.config.to_dict()),
        ("manifest", {"classes": list(experiment.domain.classes), "imports": []}),
        ("genotype", genotype.to_json()),
    ):
        (folder / f"{name}.json").write_text(json.dumps(value))
    (folder / "metrics.jsonl").touch()
    return folder, experiment.domain.size(genotype, experiment.space)


def count(capsys, *arguments):
    code = main(["count", *map(str, arguments)])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out), said.err


def test_a_run_gives_the_sizes_and_flags_change_them(begun, capsys):
    folder, size = begun
    found, said = count(capsys, folder)
    assert found == {name: size[name] for name in ("params", "macs")}
    assert said == f"{folder}: C = 6, 4 cells, 3 classes, 10x12x2 images\n"
    trained, _ = count(capsys, folder, "--auxiliary")
    assert trained["params"] == size["params_training"] > size["params"]
    file = folder / "genotype.json"
    flags = ("--channels", 6, "--classes", 3, "--image-size", 10, "--in-channels", 2)
    other, _ = count(capsys, folder, "--cells", 3, "--image-size", 10)
    assert other == count(capsys, file, "--cells", 3, *flags)[0]


def test_data_that_are_gone_are_not_needed(begun, capsys):
    folder, size = begun
    (folder.parent / "data.npz").unlink()
    assert main(["count", str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "--image-size, --in-channels" in said
    flags = ("--image-size", 10, "--in-channels", 2)
    assert count(capsys, folder, *flags)[0]["params"] == size["params"]
    result = size | {"classes": ["0", "1", "2"]}
    (folder / "result.json").write_text(json.dumps(result))
    found, said = count(capsys, folder)
    assert found == {name: size[name] for name in ("params", "macs")}
    assert said == f"{folder}: C = 6, 4 cells, 3 classes\n"
