"""Runs of a given architecture: what is trained, resumed, recorded and refused.

The networks are points in the plane of `tasks/test_own_domain.py`, which compile fast.
"""

import json

import pytest
from tasks.test_own_domain import config  # noqa: F401 - a fixture

from nasjax import run
from nasjax.core.errors import UserError
from nasjax.engine.progress import Progress
from nasjax.experiment import architecture, show
from nasjax.experiment.trained import mean
from nasjax.spaces import darts
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.rules import random_genotype, random_genotypes

SPACE = darts(("skip_connect", "sep_conv_3x3", "max_pool_3x3"))
CELL, OTHER = (random_genotype(seed, SPACE) for seed in (7, 8))


def phases(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return list(dict.fromkeys(json.loads(line)["phase"] for line in lines))


@pytest.fixture
def given(config, tmp_path):  # noqa: F811
    """A config whose genotype is a file."""
    CELL.save(tmp_path / "cell.json")
    config.genotype = str(tmp_path / "cell.json")
    config.retrain.update(epochs=2, seeds=2, random=2)
    return config


def test_seeds_and_random_cells_without_a_search(given, tmp_path, capsys):
    folder = tmp_path / "run"
    result = run(given, folder)
    out = capsys.readouterr().out
    assert phases(folder) == ["retrain", "retrain_1", "random_0", "random_1"]
    each, random = result["test_error_each"], result["random_test_error_each"]
    assert len(set(each)) == 2 and len(random) == 2
    assert result["test_error"] == pytest.approx(sum(each) / 2)
    assert result["random_test_error"] == pytest.approx(sum(random) / 2)
    assert result["test_examples"] > 0 and result["algorithm"] == "retrain"
    assert result["gradient_evaluations"] == 0 and result["stops"] == []
    cells = json.loads((folder / "random_genotypes.json").read_text())
    drawn = [Genotype.from_json(cell, SPACE) for cell in cells]
    assert len({CELL, *drawn}) == 3
    assert json.loads((folder / "genotype.json").read_text()) == CELL.to_json()
    assert json.loads(json.loads((folder / "config.json").read_text())["genotype"]) == (
        CELL.to_json()
    )
    assert "training of a given architecture on points" in out
    assert "of 2 trainings" in out and "deviation" in out and "alpha.png" not in out
    assert "2 trainings" in show.show(str(folder))


def test_a_run_resumes_though_its_file_changed_or_is_gone(given, tmp_path):
    file, folder = tmp_path / "cell.json", tmp_path / "run"

    class Stopped(Progress):
        def line(self, text):
            if text.startswith("random_0"):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(given, folder, Stopped(quiet=True))
    assert not (folder / "result.json").exists()
    OTHER.save(file)
    result = run(given, folder, Progress(quiet=True))
    assert result["genotype"] == CELL.to_json() and result["interrupted"] == 1
    with pytest.raises(UserError, match="holds a run of another config .genotype is"):
        run(given, folder, Progress(quiet=True))  # finished: not the result of OTHER
    file.unlink()
    assert run(given, folder, Progress(quiet=True)) == result
    with pytest.raises(UserError, match="Unknown genotype"):
        run(given, tmp_path / "new", Progress(quiet=True))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"retrain.epochs": 0}, "config.retrain.epochs is 0, and nothing would"),
        ({"retrain.seeds": 0}, "config.retrain.seeds is 0"),
        ({"retrain.random": -1}, "config.retrain.random is -1"),
        ({"genotype": "darts_v3"}, "Unknown genotype 'darts_v3'; did you mean"),
        ({"genotype": "snas_mild"}, "config.genotype|Unknown"),
    ],
)
def test_refusals(given, tmp_path, fields, message):
    given.update_from_flattened_dict(fields)
    with pytest.raises(UserError, match=message):
        run(given, tmp_path / "run", Progress(quiet=True))
    assert not (tmp_path / "run").exists()


def test_an_open_space_is_the_genotypes(given):
    given.space.primitives = ()
    given.genotype = "darts_v2"
    assert architecture.resolve(given) is not None
    assert "sep_conv_3x3" in given.space.primitives
    string = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|none~2|"
    given.space.primitives, given.genotype = (), string
    assert architecture.resolve(given).space == given.space.name == "nasbench201"


def test_random_cells_differ_up_to_the_order_of_pairs():
    first = random_genotypes(0, SPACE, 1)[0]
    (a, b, *rest) = first.cells["normal"]
    swapped = Genotype(
        first.space, {**first.cells, "normal": (b, a, *rest)}, first.concat
    )
    assert random_genotypes(0, SPACE, 3) == random_genotypes(0, SPACE, 4)[:3]
    assert random_genotypes(0, SPACE, 1, [swapped]) != [first]
    one = darts(("skip_connect",)).fixed()
    assert len(random_genotypes(0, one, 3)) == 3  # too few to be distinct


def test_a_mean_needs_every_value():
    assert mean([]) is None and mean([1.0, None]) is None and mean([1.0, 2.0]) == 1.5
