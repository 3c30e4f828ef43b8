"""Runs of another version are refused, not misread."""

import json

import pytest

from nasjax import cli
from nasjax.analysis import compare, runs, stability
from nasjax.core.errors import UserError
from nasjax.engine.workdir import RunFolder
from nasjax.experiment import defaults


def write(path, algorithm="zarts_mgs", **config):
    """The folder of a finished run."""
    path.mkdir()
    files = {
        "config.json": {"algorithm": algorithm, "seed": 0, **config},
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


SAYS = "by nasjax 0.1.0, is without a format, and here it is of format 2"


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


def test_a_run_of_this_format_is_filled_up_to_this_version(tmp_path):
    """Later fields get their present defaults, except the format."""
    folder = RunFolder.read(write(tmp_path / "new", format=defaults.FORMAT))
    config = runs.config_of(folder)
    assert config.search.cells == defaults.settings().search.cells
    assert config.arch.zarts_mgs == defaults.settings().arch.zarts_mgs
    with pytest.raises(UserError, match="is of format 3, and here it is of format 2"):
        runs.config_of(RunFolder.read(write(tmp_path / "later", format=3)))
