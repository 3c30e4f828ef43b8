"""A search judged by a table: its true accuracy as it goes, and nothing retrained."""

import csv
import json
import runpy

import numpy as np
import pytest
from conftest import ROOT
from support.tiny import shrink

import nasjax
from nasjax import cli
from nasjax.analysis.scores import value_of
from nasjax.core.errors import UserError
from nasjax.data.sizes import smaller
from nasjax.engine.progress import Progress
from nasjax.experiment import report, validate
from nasjax.experiment.build import build
from nasjax.search.base import Cadence
from nasjax.spaces import NASBENCH_201
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.load import load
from nasjax.spaces.nasbench201 import architectures, from_string, to_string

COLUMNS = ("cifar10_test_200ep", "cifar100_test_200ep", "imagenet16_test_200ep")


def config_of(table=""):
    path = ROOT / "configs" / "darts_first.py"
    config = shrink(runpy.run_path(str(path))["get_config"]())
    config.space.update(name="nasbench201", table=str(table))
    config.seed, config.search.alpha_spread = 5, 3.0  # some edges prefer `none`
    config.retrain.epochs = 0
    return config


def percent(text):
    """Made up: the place of every operation counts."""
    ops = [op for op, _ in from_string(text).cells["cell"]]
    return 10 + sum(NASBENCH_201.index(op) * (i + 1) for i, op in enumerate(ops)) / 2


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("table") / "table.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", *COLUMNS])
        for genotype in architectures():
            text = to_string(genotype)
            writer.writerow([text, *(percent(text) / k for k in (1, 2, 4))])
    return path


@pytest.mark.slow
def test_the_log_and_the_result_carry_the_truth(table, tmp_path, capsys):
    result = nasjax.run(config_of(table), tmp_path / "run", Progress(quiet=True))
    lines = [
        json.loads(line)
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    mixes = {
        line["step"]: np.array(line["mix"]["cell"]) for line in lines if "mix" in line
    }
    judged = [line for line in lines if "true_cifar10" in line]
    assert len(judged) == 2
    for line in judged:
        mix = mixes[line["step"]]
        text, without = string(mix.argmax(1)), string(1 + mix[:, 1:].argmax(1))
        assert "none" in text and "none" not in without
        assert line["true_cifar10"] == pytest.approx(percent(text) / 100)
        assert line["true_cifar10_with_none"] == line["true_cifar10"]
        found = line["true_cifar10_without_none"]
        assert found == pytest.approx(percent(without) / 100)
        assert line["true_imagenet16"] == pytest.approx(percent(text) / 400)
    assert from_string(text) == Genotype.from_json(result["genotype"])
    truth = {"cifar10": line["true_cifar10"], "cifar100": line["true_cifar100"]}
    assert result["true_accuracy"].items() >= truth.items()
    for reading, own in (("with_none", text), ("without_none", without)):
        held = result["readings"][reading]
        assert from_string(own) == Genotype.from_json(held["genotype"])
        assert held["true_accuracy"]["cifar10"] == line[f"true_cifar10_{reading}"]
        named = value_of(result, f"true_cifar10_{reading}")
        assert named == line[f"true_cifar10_{reading}"]
    said = report.closing(result, tmp_path)
    assert f"without 'none' in alpha's choices: cifar10 {found:.2%}, " in said
    assert result["test_accuracy"] is result["random_test_accuracy"] is None
    # 22 batches of 32 in an epoch; alpha moves in the second one: a gradient each.
    assert result["gradient_evaluations"] == 11 + 11 * 2
    assert [line["gradient_evaluations"] for line in judged] == [11, 33]
    assert result["params"] == json.loads(_counted(text, capsys))["params"]
    assert cli.main(["show", str(tmp_path / "run")]) == 0
    shown = capsys.readouterr().out
    assert "true accuracy  " in shown and "read without none  " in shown
    # The same folder with another table, the packaged one.
    again = nasjax.run(config_of(), tmp_path / "run", Progress(quiet=True))
    assert again == result
    assert not (tmp_path / "run" / "checkpoints" / "retrain").exists()


def string(choices):
    """The benchmark's string of an operation for each edge."""
    a, b, c, d, e, f = (NASBENCH_201[index] for index in choices)
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"


def _counted(text, capsys):
    sizes = [
        "--channels",
        "2",
        "--cells",
        "3",
        "--image-size",
        "8",
        "--in-channels",
        "1",
    ]
    assert cli.main(["count", text, *sizes]) == 0
    return capsys.readouterr().out


BEST = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|"
)


@pytest.mark.parametrize(
    ("fields", "accuracy"),
    [
        ({}, 0.943733),
        ({"space.share": False}, None),  # every cell differs
        ({"space.name": "s1"}, None),
    ],
)
def test_the_packaged_table_judges_its_space(fields, accuracy):
    config = config_of()
    config.update_from_flattened_dict(fields)
    experiment = build(config)
    genotype = load(f"{BEST}nor_conv_1x1~2|")
    assert experiment.truth(genotype).get("cifar10") == accuracy
    search = experiment.begin(experiment.algorithm.stages[-1], None)
    names = [monitor.name for monitor in experiment.monitors(0, search)]
    assert ("truth" in names) == bool(accuracy)


def test_strings_are_genotypes_of_the_command_line(capsys):
    text = "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|"
    assert to_string(load(text)) == text
    assert cli.main(["count", "|nor_conv_7x7~0|+|none~0|none~1|+|none~0"]) == 2
    assert "nor_conv_3x3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"space.name": "s1"}, "a table of NAS-Bench-201, but"),
        ({"space.share": False}, "set --config.space.share=True"),
        ({"space.edges": "fixed"}, "keeps all of its edges"),
        ({"space.none": "no"}, "config.space.none 'no'. Known: auto, barred"),
        ({"space.table": "nowhere.csv"}, "Cannot read the table nowhere.csv"),
        ({"retrain.reweighted": True}, "nothing is retrained"),
        ({"data.shrink": 3}, "8x8 pixels cannot be made 3 times smaller"),
        ({"data.shrink": 0}, "config.data.shrink is 0"),
        ({"search.epochs": 0}, "config.search.epochs is 0"),
    ],
)
def test_what_cannot_be_is_refused(table, fields, words, tmp_path):
    config = config_of(table)
    config.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=words):
        nasjax.run(config, tmp_path / "run", Progress(quiet=True))
    assert not (tmp_path / "run").exists()


def test_smaller_images_are_means_of_squares():
    image = np.arange(2 * 4 * 6 * 1, dtype=np.uint8).reshape(2, 4, 6, 1)
    small = smaller(image, 2)
    assert small.shape == (2, 2, 3, 1) and small.dtype == np.uint8
    for n, i, j in np.ndindex(2, 2, 3):
        window = image[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        assert abs(small[n, i, j, 0] - window.mean()) <= 0.5


def test_how_often_a_step_is_due():
    assert Cadence(4, 3).times(14) == len([6, 9, 12])
    assert Cadence(0, 1).times(5) == 5 and Cadence(9, 1).times(5) == 0


@pytest.mark.parametrize("variant", ["nasbench201", "nasbench201-small"])
@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.py")), ids=str)
def test_every_config_has_the_benchmark_as_a_variant(path, variant):
    config = runpy.run_path(str(path))["get_config"](variant)
    assert validate.config(config).is_locked
    assert config.space.name == "nasbench201"
    assert (config.retrain.epochs == 0) == (path.name != "retrain.py")
    assert (config.retrain.channels, config.retrain.cells) == (16, 15)
    small = variant.endswith("small")
    assert (config.search.channels, config.search.cells) == (
        (8, 3) if small else (16, 15)
    )
