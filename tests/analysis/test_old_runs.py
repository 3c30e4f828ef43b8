"""Runs of another version are refused, not misread."""

import json

import pytest

from nasjax import cli
from nasjax.analysis import compare, runs, stability
from nasjax.core.errors import UserError
from nasjax.engine.workdir import RunFolder
from nasjax.experiment import defaults, report
from nasjax.spaces.load import load


def write(path, algorithm="zarts_mgs", **config):
    """The folder of a finished run."""
    path.mkdir()
    files = {
        "config.json": {"algorithm": algorithm, "seed": 0} | config,
        "manifest.json": {"versions": {"nasjax": "0.1.0"}, "started": [{}]},
        "result.json": {"test_accuracy": 0.9, "dataset": "digits"},
        "metrics.jsonl": {"phase": "search", "step": 1, "epoch": 1, "valid_loss": 1.0},
    }
    for name, content in files.items():
        (path / name).write_text(json.dumps(content) + "\n")
    return path


@pytest.fixture
def old(tmp_path):
    """A run of format 1, with `base`, and with one algorithm's settings as `arch`."""
    return write(tmp_path / "old", base="", arch={"samples": 4, "every": 4})


SAYS = "by nasjax 0.1.0, is without a format, and here it is of format 3"


@pytest.mark.parametrize(
    "read",
    [
        runs.load,
        lambda path: runs.config_of(RunFolder.read(path)),
        lambda path: compare.sets([str(path)]),
    ],
)
def test_an_old_run_is_refused(old, read):
    with pytest.raises(UserError, match=SAYS) as error:
        read(old)
    assert str(old) in str(error.value) and "--workdir=" in str(error.value)


def test_commands_say_so_in_one_line(old, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new = write(tmp_path / "new", format=defaults.FORMAT)
    for command in (
        lambda: cli.main(["compare", str(new), str(old)]),
        lambda: stability.main([str(old)]),
    ):
        assert command() == 2
        out, err = capsys.readouterr()
        assert out == "" and SAYS in err and err.count("\n") == 1


RESULT = {
    "algorithm": "zarts_mgs", "estimator": "first_order", "seed": 0, "dataset": "digits",
    "classes": ["0", "1"], "genotype": load("darts_v2").to_json(),
    "metric": {"name": "accuracy", "higher_is_better": True, "form": "{:.2%}"},
    "test_accuracy": 0.9, "test_accuracy_each": [0.9], "random_test_accuracy": 0.5,
    "random_test_accuracy_each": [0.4, 0.6], "test_examples": 100, "params": 12345,
    "params_training": 12346, "macs": 678, "reweighted_test_accuracy": None,
    "true_accuracy": None, "supernet_valid_accuracy": 0.5, "stops": [],
    "gradient_evaluations": 1.0, "interrupted": 0,
    "seconds": {"compile": 1.0, "search": 2.0, "retrain": 3.0},
}  # fmt: skip


def lacks(name):
    """A result of an older version, which did not write a field."""
    return {k: v for k, v in RESULT.items() if k != name}


LATER = RESULT | {"metric": RESULT["metric"] | {"unit": "fraction"}, "new": [1]}
OLDER = {name: lacks(name) for name in RESULT}
OLDER |= {"null": dict.fromkeys(RESULT) | {"test_accuracy": 0.9}, "later": LATER}
OLDER["all but one"] = {"test_accuracy": 0.9}


@pytest.mark.parametrize("case", OLDER)
def test_a_result_shows_what_it_has(case, tmp_path, capsys):
    """Without a KeyError for what an older version did not write."""
    paths = [
        write(tmp_path / f"run{seed}", format=defaults.FORMAT, seed=seed)
        for seed in (0, 1)
    ]
    (paths[0] / "result.json").write_text(json.dumps(OLDER[case]))
    whole = RESULT | {"seed": 1}
    (paths[1] / "result.json").write_text(json.dumps(whole))
    assert cli.main(["show", str(paths[0])]) == 0
    shown = capsys.readouterr().out
    assert "90.00%" in shown or case in ("test_accuracy", "test_accuracy_each")
    assert ("12,345" in shown) == (OLDER[case].get("params") is not None)
    end = report.closing(OLDER[case], paths[0])
    assert "nasjax show" in end
    assert ("12,345 parameters" in end) == (OLDER[case].get("params") is not None)
    if case != "test_accuracy":
        assert cli.main(["compare", *map(str, paths)]) == 0
        assert "90" in capsys.readouterr().out


def test_a_report_of_the_oldest_result(tmp_path):
    path = write(tmp_path / "run", format=defaults.FORMAT)
    (path / "result.json").write_text("{}")
    assert cli.main(["report", str(path)]) == 0 and (path / "report.html").exists()


def test_a_run_of_this_format_is_filled_up_to_this_version(tmp_path):
    """Later fields get their present defaults, except the format."""
    folder = RunFolder.read(write(tmp_path / "new", format=defaults.FORMAT))
    config = runs.config_of(folder)
    assert config.search.cells == defaults.settings().search.cells
    assert config.arch.zarts_mgs == defaults.settings().arch.zarts_mgs
    with pytest.raises(UserError, match="is of format 4, and here it is of format 3"):
        runs.config_of(
            RunFolder.read(write(tmp_path / "later", format=defaults.FORMAT + 1))
        )
