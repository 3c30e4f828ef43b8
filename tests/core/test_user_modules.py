"""Modules of the user: an algorithm, an operation and a space outside the package."""

import json
import os
import re
import shutil
import sys

import numpy as np
import pytest
from support.tiny import shrink

from nasjax import cli
from nasjax.core import imports
from nasjax.core.errors import UserError
from nasjax.core.limits import at_least
from nasjax.data.arrays import Arrays
from nasjax.data.sources import SOURCES, load
from nasjax.experiment import defaults
from nasjax.experiment.build import build as build_experiment
from nasjax.main import parse_flags
from nasjax.nets.operations import OPERATIONS
from nasjax.search import PARTS, Part
from nasjax.search.algorithms import compose, default_settings
from nasjax.spaces import SPACES
from nasjax.spaces.rules import random_genotype
from nasjax.tasks import DOMAINS

MINE = '''"""A softmax with a temperature."""
import jax

from nasjax.core.limits import above
from nasjax.nets.operations import OPERATIONS, Identity
from nasjax.search import PARTS, Part
from nasjax.search.relax import Relaxation, normal
from nasjax.spaces import SPACES, CellSpace


def build(settings, base):
    def warm(space, spread):
        def mix(arch, at):
            share = lambda kind: jax.nn.softmax(arch[kind] / settings.tau)
            return space.mix({kind: share(kind) for kind in space.shapes()})

        return Relaxation(normal(space, spread), mix)

    return base._replace(relaxation=warm)


OPERATIONS["twin"] = OPERATIONS["skip_connect"]
PARTS["warm"] = Part(
    build, lambda scale: {"tau": 2.0, "hint": 1}, {"tau": above(0.0)}, free=("hint",)
)
SPACES["mine"] = CellSpace("mine", ("twin", "skip_connect"), nodes=1)
SPACES["wrong"] = CellSpace("wrong", ("twn", "skip_connect"), nodes=1)
'''


OLD_LOADER = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ml_collections


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file that registers a part, an operation and two spaces."""
    (tmp_path / "own").mkdir()
    file = tmp_path / "own" / "mine.py"
    file.write_text(MINE)
    tables = [(table, dict(table)) for table in (OPERATIONS, PARTS, SPACES)]
    modules = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield file
    imports.GIVEN.clear()
    for table, before in tables:
        table.clear()
        table.update(before)
    for name in set(sys.modules) - modules:
        if str(tmp_path) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def said(capsys, *arguments):
    """(exit code, stdout, stderr) of a command."""
    return cli.main(list(map(str, arguments))), *capsys.readouterr()


@pytest.fixture
def run(mine, tmp_path):
    """The folder of a run with the file, as another process has left it."""
    folder = tmp_path / "run"
    folder.mkdir()
    with imports.imported([f"--import={mine}"]):
        cell = random_genotype(0, SPACES["mine"])
        config = defaults.settings()
        config.algorithm, config.space.name = "warm", "mine"
        manifest = {"imports": list(imports.GIVEN), "started": [{"time": "now"}]}
        texts = {"config": defaults.pruned(config.to_dict()), "manifest": manifest}
        for name, value in (texts | {"genotype": cell.to_json()}).items():
            (folder / f"{name}.json").write_text(json.dumps(value))
    del sys.modules["mine"]
    for table, name in ((OPERATIONS, "twin"), (PARTS, "warm"), (SPACES, "mine")):
        del table[name]
    return folder


@pytest.mark.parametrize(
    "flags",
    [["--import=own/mine.py"], ["--import", "own/mine.py"], ["-import=own/mine.py"],
     ["--import={tmp}/own/mine.py"], ["--import=own.mine"]],
)  # fmt: skip
def test_spellings(flags, mine, tmp_path, capsys):
    flags = [flag.format(tmp=tmp_path) for flag in flags]
    small = ["--supernet", "mine", "--channels", "2", "--cells", "1"]
    code, out, err = said(capsys, "count", *flags, *small)
    assert code == 0 and err == "" and json.loads(out)["params"] > 0
    code, out, _ = said(capsys, *flags, "list")
    assert "A softmax with a temperature. With: " in out and "twin" in out


@OLD_LOADER
def test_a_config_of_a_part_from_outside(mine, tmp_path):
    """The part comes after the defaults were imported; its free fields are known."""
    with imports.imported(
        [f"--import={mine}", "--config=x", "--", "--import=y"]
    ) as rest:
        assert rest == ["--config=x", "--", "--import=y"]
        given = ["--config=darts_first", "--config.algorithm=warm"]
        found = parse_flags([*given, "--config.arch.warm.tau=3.0"])
        assert found.config.arch.warm.tau == 3.0
        assert "arch.warm.hint" in defaults.free_on_resume()
        hinted = parse_flags([*given, "--config.arch.warm.hint=7"])
        assert hinted.workdir == parse_flags(given).workdir != found.workdir


def test_a_run_records_it(mine, tmp_path):
    from nasjax.experiment import build
    from nasjax.experiment.single import manifest

    with imports.imported([f"--import={mine}"]):
        config = shrink(defaults.settings(), ("twin", "sep_conv_3x3"))
        config.algorithm = "warm"
        made = build.build(config)
        assert manifest(made, {"command": None})["imports"] == [str(mine)]
    assert imports.GIVEN == []


@OLD_LOADER
def test_commands_on_a_run_import_its_modules(run, mine, tmp_path, capsys, monkeypatch):
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    code, out, _ = said(capsys, "show", run)
    assert code == 0 and ("twin" in out or "skip_connect" in out)
    for command in (["count", run, "--channels", 2, "--cells", 1], ["show", run]):
        assert said(capsys, *command)[0] == 0
    found = parse_flags([f"--workdir={run}", "--config=darts_first"])
    assert "warm" in found.config.arch


COMMANDS = (["show"], ["count"], ["saliency"], ["draw", "-o", "x.png"], ["report"],
            ["retrain", "--epochs", "1"], ["stability"], ["convergence"], ["landscape"],
            ["condition"], ["importance"])  # fmt: skip
ALL = (*COMMANDS, ["compare"], ["run", "--config=retrain", "--config.seed=x"])


@OLD_LOADER
@pytest.mark.parametrize("command", ALL, ids=lambda own: own[0])
def test_every_command_on_a_run_imports_its_modules(run, command, capsys, monkeypatch):
    """Also those that then end for another reason: this run has no checkpoint."""
    monkeypatch.setattr("nasjax.experiment.run.run", lambda *_: None)
    given = f"--config.genotype={run}" if command[0] == "run" else run
    _, _, err = said(capsys, command[0], given, *command[1:])
    assert "warm" in PARTS and "Unknown" not in err and imports.GIVEN == []


def test_two_runs_with_modules_of_their_own(run, mine, tmp_path, capsys):
    second = tmp_path / "second"
    shutil.copytree(run, second)
    other = tmp_path / "other.py"
    other.write_text("from nasjax.search import PARTS\nPARTS['other'] = PARTS['sanas']")
    manifest = {"imports": [str(other)], "started": [{"time": "now"}]}
    (second / "manifest.json").write_text(json.dumps(manifest))
    for folder in (run, second):
        (folder / "result.json").write_text('{"dataset": "digits"}')
    said(capsys, "compare", run, second)
    assert {"warm", "other"} <= set(PARTS)


def test_a_recorded_name_that_has_gone(run, capsys):
    manifest = {"imports": ["no_such.module"], "started": [{"time": "now"}]}
    (run / "manifest.json").write_text(json.dumps(manifest))
    code, _, err = said(capsys, "show", run)
    assert code == 2 and "run was started with --import=no_such.module." in err
    assert "--import=mine.py" in err and err.count("\n") == 1


@pytest.mark.parametrize("command", COMMANDS, ids=lambda own: own[0])
def test_a_module_that_has_gone(run, mine, tmp_path, capsys, command):
    moved = mine.rename(tmp_path / "moved.py")
    code, out, err = said(capsys, command[0], run, *command[1:])
    assert code == 2 and out == "" and err.count("\n") == 1
    assert f"--import={mine}, which does not exist any more; give its new place" in err
    if command[0] in ("show", "draw"):
        given = [command[0], run, *command[1:], f"--import={moved}"]
        assert said(capsys, *given)[0] == 0


BUILDING = [own for own in COMMANDS if own != ["stability"]]  # needs a search first


@pytest.mark.parametrize("command", BUILDING, ids=lambda own: own[0])
def test_a_run_that_recorded_none(run, capsys, command):
    (run / "manifest.json").write_text("{}")
    code, _, err = said(capsys, command[0], run, *command[1:])
    assert code == 2 and err.count("\n") == 1 and "--import=FILE.py" in err


def test_the_newest_start_counts(run, mine, tmp_path):
    moved = mine.rename(tmp_path / "moved.py")
    started = [{"time": "then"}, {"imports": [str(moved)]}, {"time": "now"}]
    imports.load_recorded({"imports": [str(mine)], "started": started}, run)
    assert "warm" in PARTS


BAD = {
    "missing": ("no.py", "There is no module 'no.py'"),
    "nothing": ("", "There is no module ''"),
    "no module": ("no_such_module", "There is no module 'no_such_module' here"),
    "long": ("x" * 9999, "There is no module"),
    "long file": ("x" * 9999 + ".py", "There is no module 'xxx"),
    "NUL": ("a\0b.py", "There is no module"),
    "a folder": ("empty", "There is no module 'empty'"),
    "a text": ("text.txt", "is not a Python file"),
    "an error": ("bad.py", "(line 2: ZeroDivisionError: division by zero)"),
    "syntax": ("syntax.py", "(line 1: SyntaxError"),
    "a script": ("script.py", "(line 1: SystemExit: 3)"),
    "a dependency": ("lacks.py", "No module named 'no_such_thing'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_modules_are_one_sentence(case, mine, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    texts = {"text.txt": "", "bad.py": "x = 1\n1 / 0\n", "syntax.py": "def\n",
             "script.py": "raise SystemExit(3)\n", "lacks.py": "import no_such_thing"}  # fmt: skip
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    name, says = BAD[case]
    code, out, err = said(capsys, "list", f"--import={name}")
    assert code == 2 and out == "" and err.count("\n") == 1 and says in err
    assert len(err) < 400 and not set(PARTS) & {"warm"}


def test_files_of_one_name_and_of_packages(mine, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.py").write_text("from beside import value\n")
    (other / "beside.py").write_text("value = 5\n")
    (other / "json.py").write_text("value = 6\n")
    package = tmp_path / "pack"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("from . import sibling\n")
    (package / "sibling.py").write_text("")
    first, second = imports.load(str(mine)), imports.load(str(other / "mine.py"))
    assert first is imports.load("own/mine.py") and first is not second
    assert second.value == 5 and imports.load("other/json.py").value == 6
    assert imports.load("pack/inner.py").__name__ == "pack.inner"
    assert imports.load("pack").__name__ == "pack"
    assert all(os.path.isabs(name) for name in imports.GIVEN)
    assert len(imports.GIVEN) == 5 and json.dumps({}) == "{}"


def test_a_wrong_operation_of_an_own_space(mine, capsys):
    code, _, err = said(capsys, "count", "--supernet", "wrong", "--import=own/mine.py")
    assert code == 2 and "Unknown primitive 'twn'; did you mean 'twin'" in err
    with imports.imported([f"--import={mine}"]):
        from nasjax.experiment import validate

        config = defaults.settings()
        config.space.name = "wrong"
        with pytest.raises(UserError, match="Unknown primitive 'twn'"):
            validate.space(config.space)


def test_the_command_without_a_name(mine, capsys):
    code, out, err = said(capsys, "--import=own/mine.py")
    assert code == 2 and out == "" and err.startswith("usage: nasjax")


def build(settings, base):
    return base


ROWS = {
    "a function for a part": (PARTS, build, "PARTS['mine'] is set to a function"),
    "settings as they are": (PARTS, Part(build, {"tau": 2.0}), "with two functions"),  # type: ignore[arg-type]
    "no settings": (PARTS, Part(build, lambda scale: None), "scale -> {setting"),  # type: ignore[arg-type, return-value]
    "a limit of another setting": (
        PARTS,
        Part(build, lambda scale: {"tau": 2.0}, {"tua": at_least(0)}),
        "limits of these settings alone",
    ),
    "a module": (OPERATIONS, 3, "OPERATIONS['mine'] is set to an int"),
    "names": (
        SPACES,
        ("skip_connect", "sep_conv_3x3"),
        "expected a nasjax.spaces.Cell",
    ),
    "a loader": (DOMAINS, build, "expected nasjax.tasks.Kind(load)"),
    "arrays": (SOURCES, ([], []), "SOURCES['mine'] is set to a tuple; expected a func"),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_row_of_another_kind_is_refused_where_it_is_assigned(case):
    table, row, words = ROWS[case]
    before = dict(table)
    with pytest.raises(UserError, match=re.escape(words)):
        table["mine"] = row
    assert table == before


def test_the_sentence_names_the_line_of_the_module(mine, capsys):
    mine.write_text("from nasjax.search import PARTS\n\nPARTS['x'] = print\n")
    code, _, err = said(capsys, "list", f"--import={mine}")
    assert code == 2 and err.count("\n") == 1
    assert "(line 3: " in err and "PARTS['x'] is set to a builtin" in err


def test_a_part_that_returns_no_algorithm(monkeypatch):
    monkeypatch.setitem(
        PARTS, "mine", Part(lambda settings, base: None, lambda scale: {})
    )  # type: ignore[arg-type, return-value]
    with pytest.raises(
        UserError, match="'mine' makes a NoneType; expected an Algorithm"
    ):
        compose(
            "darts_first+mine",
            {"darts_first": default_settings("darts_first"), "mine": None},
        )


IMAGES, LABELS = np.zeros((6, 8, 8, 1), np.uint8), np.arange(6) % 2
DATA = {
    "a pair": ((IMAGES, LABELS), "is a tuple; expected nasjax.data.arrays.Arrays"),
    "floats": (Arrays(IMAGES / 255, LABELS, ("a", "b")), "image float64 [6, 8, 8, 1]"),
    "no channels": (Arrays(IMAGES[..., 0], LABELS, ("a", "b")), "[6, 8, 8]"),
    "a class more": (Arrays(IMAGES, LABELS + 1, ("a", "b")), "labels 1 to 2 and 2 cl"),
}


@pytest.mark.parametrize("case", DATA)
def test_a_data_set_of_another_form(case, monkeypatch):
    data, words = DATA[case]
    monkeypatch.setitem(SOURCES, "mine", lambda: data)
    with pytest.raises(UserError, match=re.escape(words)):
        load("mine")


def test_every_unknown_name_of_a_table_mentions_import():
    with pytest.raises(UserError, match="--import=FILE.py"):
        load("mine")
    for field, value in (("task", "mine"), ("algorithm", "mine")):
        config = defaults.settings()
        config[field] = value
        with pytest.raises(UserError, match="--import=FILE.py"):
            build_experiment(config)
    for field, value in (("name", "mine"), ("primitives", ("mine", "none"))):
        config = defaults.settings()
        config.space[field] = value
        with pytest.raises(UserError, match="--import=FILE.py"):
            build_experiment(config)
