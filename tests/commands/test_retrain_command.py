"""`nasjax retrain`: the settings that it takes, and the training itself."""

import json

import pytest
from tasks.test_own_domain import config  # noqa: F401 - a fixture

from nasjax import run
from nasjax.commands import retrain
from nasjax.core.errors import UserError
from nasjax.engine.progress import Progress
from nasjax.experiment import defaults
from nasjax.spaces.published import PUBLISHED

STRING = "|nor_conv_3x3~0|+|skip_connect~0|none~1|+|none~0|none~1|none~2|"


def settings(*argv):
    return retrain.settings(*retrain._parser().parse_known_args(argv))


def folder(*argv):
    return retrain._folder(argv[0], settings(*argv))


def test_a_run_is_trained_again_without_a_search(config, tmp_path, capsys):  # noqa: F811
    config.algorithm, config.collapse.interval = "darts_first", 0
    config.retrain.random = 0
    searched = run(config, tmp_path / "run", Progress(quiet=True))

    def again(name, *flags):
        assert (
            retrain.main(
                [str(tmp_path / "run"), f"--workdir={tmp_path / name}", *flags]
            )
            == 0
        )
        return json.loads((tmp_path / name / "result.json").read_text())

    same = again("same")
    assert same["test_error"] == searched["test_error"]
    assert same["genotype"] == searched["genotype"]
    assert same["seconds"]["search"] == 0 and same["dataset"] == searched["dataset"]
    longer = again("longer", "--epochs=12", "--seeds=2")
    assert longer["test_error"] < searched["test_error"]
    assert len(longer["test_error_each"]) == 2
    capsys.readouterr()
    assert again("longer", "--epochs=12", "--seeds=2") == longer
    assert "is finished" in capsys.readouterr().out
    with pytest.raises(UserError, match="retrain.epochs is 12 there and 4 here"):
        again("longer", "--seeds=2")


def test_flags_are_fields_and_the_last_one_counts():
    found = settings(
        "darts_v2", "--epochs=3", "--channels=6", "--cells=5", "--batch=7", "--seeds=2",
        "--random=1", "--seed=9", "--config.retrain.rate=0.1", "--config.data.pad=0",
        "--config.retrain.rate=0.2",
    )  # fmt: skip
    own = found.retrain
    assert (own.epochs, own.channels, own.cells, own.batch) == (3, 6, 5, 7)
    assert (own.seeds, own.random, found.seed, own.rate) == (2, 1, 9, 0.2)
    assert found.data.pad == 0 and found.genotype == "darts_v2"


def test_the_folder_of_a_run_gives_its_data_and_settings(tmp_path):
    stored = defaults.settings()
    stored.data.pad, stored.retrain.rate, stored.space.name = 3, 0.7, "s3"
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(stored.to_dict()))
    found = settings(str(path), "--config.data.pad=2")
    assert (found.data.pad, found.retrain.rate, found.space.name) == (2, 0.7, "s3")
    assert found.retrain.random == 0
    recipe = settings(str(path), "--recipe=nasbench201")
    assert recipe.space.name == "s3" and recipe.retrain.epochs == 200


def test_other_settings_have_another_folder(tmp_path):
    first = folder("darts_v2")
    assert first.startswith("runs/retrain-darts_v2-") and first == folder("darts_v2")
    assert first == folder("darts_v2", "--config.log_every=7")
    assert first != folder("darts_v2", "--epochs=3")
    assert folder(STRING).startswith("runs/retrain-genotype-")
    file = tmp_path / "mine.json"
    PUBLISHED["darts_v1"].save(file)
    before = folder(str(file))
    assert before.startswith("runs/retrain-mine-")
    PUBLISHED["pdarts"].save(file)
    assert folder(str(file)) != before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["darts_v2", "--epoch=3"], "Unknown argument '--epoch=3'; did you mean"),
        (["darts_v2", "more"], "Unknown argument 'more'"),
        (["darts_v2", "--config.retrain.epoch=3"], "Unknown config field"),
        (["darts_v2", "--config.retrain.rate=abc"], "is 'abc'; expected a number"),
        (["darts_v2", "--config.genotype=pdarts"], "give one of them"),
        (["darts_v2", "--epochs=0"], "nothing would be done"),
        (["darts_v9"], "Unknown genotype 'darts_v9'; did you mean"),
        (["."], "is not a run: it holds no config.json"),
        (["", "--epochs=3"], "No genotype was given"),
    ],
)
def test_refusals_are_sentences(argv, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        retrain.main(argv)
    assert not list(tmp_path.iterdir())
