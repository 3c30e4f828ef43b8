"""Bad input gives one sentence and exit code 2; written files are compact."""

import json
import runpy

import numpy as np
import pytest
from conftest import ROOT

from nasjax.analysis import commands, condition, convergence, importance, landscape
from nasjax.analysis.runs import load
from nasjax.core.errors import UserError
from nasjax.experiment.defaults import settings

STUDIES = [landscape, condition, importance, convergence]
study = pytest.mark.parametrize("study", STUDIES)


@pytest.fixture
def folder(tmp_path):
    """The folder of a run that was stopped before its first checkpoint."""
    config = runpy.run_path(str(ROOT / "configs" / "zarts_mgs.py"))["get_config"]()
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config.to_dict()))
    (path / "manifest.json").write_text(json.dumps({"command": "the command"}))
    return path


def refused(capsys, study, *arguments):
    """The sentence with which a study refuses its arguments."""
    assert study.main(list(map(str, arguments))) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.endswith(".\n")
    name = study.__name__.rpartition(".")[2]
    assert err.startswith(f"nasjax {name}: ")
    return err


@study
def test_help_is_readable(study, capsys):
    with pytest.raises(SystemExit) as stop:
        study.main(["--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and "RUN" in out and "(default: RUN/" in out
    assert max(map(len, out.splitlines())) <= 88


@study
def test_folders_that_are_no_run(study, capsys, tmp_path):
    assert "There is no folder" in refused(capsys, study, tmp_path / "absent")
    assert "is not a run" in refused(capsys, study, tmp_path)


def test_the_command_that_resumes_can_be_typed(folder, capsys):
    """However the study was started: here `sys.argv` is that of the tests."""
    made = commands.parser("convergence", "")
    shown = lambda arguments: arguments.command
    words = [str(folder), "--json", f"{folder}/a b.json"]
    assert commands.execute(shown, made, "convergence", words) == 0
    expected = f"nasjax convergence {folder} --json '{folder}/a b.json'\n"
    assert capsys.readouterr().out == expected


@study
def test_search_without_a_checkpoint(study, capsys, folder):
    assert "no checkpoint yet" in refused(capsys, study, folder)


@study
def test_files_that_cannot_be_written(study, capsys, folder, tmp_path):
    told = refused(capsys, study, folder, "--plot", tmp_path / "a.gif")
    assert "must end in .png or .svg or .pdf" in told
    told = refused(capsys, study, folder, "--json", tmp_path / "absent" / "a.json")
    assert "there is no folder" in told


@pytest.mark.parametrize(
    ("study", "arguments", "told"),
    [
        (landscape, ["--points=4"], "give an integer of at least 5, not 4"),
        (landscape, ["--extent=0"], "give a number above 0, not '0'"),
        (landscape, ["--rate=inf"], "give a number above 0, not 'inf'"),
        (condition, ["--steps=0"], "give a positive integer, not '0'"),
        (condition, ["--seed=-1"], "give an integer of at least 0, not '-1'"),
        (importance, ["--samples=many"], "a positive integer, not 'many'"),
        (convergence, ["--every=0"], "a positive integer, not '0'"),
    ],
)
def test_arguments_out_of_range(study, arguments, told, folder, capsys):
    with pytest.raises(SystemExit) as stop:
        study.main([str(folder), *arguments])
    assert stop.value.code == 2 and told in capsys.readouterr().err


def test_config_that_cannot_be_rebuilt(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"algorithm": "zart"}))
    with pytest.raises(UserError, match="cannot be rebuilt: Unknown algorithm 'zart'"):
        load(folder)


def test_run_of_an_older_version(folder):
    """Later fields get their defaults, so the study runs as on any other folder."""
    config = json.loads((folder / "config.json").read_text())
    del config["precision"], config["space"]["edges"], config["search"]["cutout"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="no checkpoint yet"):
        load(folder)
    assert settings().space.edges == "pruned"


def test_numbers_are_written_in_lines(tmp_path):
    path = tmp_path / "a.json"
    value = {"grid": np.eye(2) / 3, "pair": (1, float("nan")), "inner": {"a": [1]}}
    commands.write(path, value)
    assert json.loads(path.read_text()) == {
        "grid": [[0.333333, 0], [0, 0.333333]],
        "pair": [1, None],
        "inner": {"a": [1]},
    }
    assert "  [ 0.333333, 0.0 ]" in path.read_text()


def test_landscapes_with_nothing_to_see():
    with pytest.raises(UserError, match="the same on all of the plane"):
        landscape._uneven(np.ones(25))
    with pytest.raises(UserError, match="not finite after the inner steps"):
        landscape._uneven(np.array([1.0, np.nan]))


def test_architectures_of_a_log():
    from nasjax.spaces import darts
    from nasjax.spaces.genotype import Genotype

    space = darts(("skip_connect", "none"))._replace(nodes=1, types=("normal",))
    pairs = (("skip_connect", 0), ("skip_connect", 1))
    cell = Genotype(space.name, {"normal": pairs}, (2,)).to_json()
    line = {"phase": "search", "mix": {}, "genotype": cell}
    lines = [
        {"phase": "search", "step": 10, "loss": 1.0},
        *(line | {"step": step} for step in (10, 20, 30, 40, 50)),
        line | {"phase": "edges", "step": 60},
    ]
    found = convergence.architectures(lines, space, 10, 2)
    assert list(found) == [2, 4, 5]
    assert len(set(found.values())) == 1
