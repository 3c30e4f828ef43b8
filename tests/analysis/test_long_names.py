"""Names that no file can have end in one sentence, which does not repeat them."""

import pytest

import nasjax
from nasjax.cli import main
from nasjax.core.errors import UserError
from nasjax.engine.workdir import RunFolder
from nasjax.experiment import defaults
from nasjax.plots import genotypes
from nasjax.spaces.load import load

LONG = "x" * 9999
TEXT = "Genotype(normal=[" + "('sep_conv_3x3', 0), " * 300
ON_A_RUN = ("show", "compare", "report", "saliency", "stability", "landscape")
RUN = ["run", "--config=zarts_mgs"]


def refused(command, capsys):
    """The message of a command, after "nasjax NAME: "."""
    try:
        assert main(command) == 2
    except SystemExit as stop:  # arguments that do not parse
        assert stop.code == 2
        return capsys.readouterr().err.splitlines()[-1]
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    "name", [LONG, "d/" * 2500, TEXT], ids=["file", "folder", "text"]
)
@pytest.mark.parametrize(
    "command",
    [*([name, "{}"] for name in (*ON_A_RUN, "count", "retrain", "testbed")),
     ["draw", "{}", "-o", "x.png"], ["draw", "darts_v2", "-o", "{}"],
     ["draw", "darts_v2", "-o", "{}/x.png"], ["draw", "darts_v2", "-o", "{}.png"],
     ["compare", "{}.log"], ["{}"], ["count", "--supernet={}"], ["help", "{}"],
     ["count", "darts_v2", "--channels={}"], ["list", "--import={}"],
     ["run", "--config={}"], ["run", "--config=zarts_mgs:{}"], [*RUN, "--workdir={}"],
     *([*RUN, f"--config.{field}={{}}"] for field in (
         "genotype", "data.path", "data.name", "algorithm", "task", "seed", "space.name",
         "space.table", "compile_cache", "parallel", "retrain.schedule")),
     [*RUN, "--config.{}=1"], [*RUN, "--config.retrain.{}=1"], [*RUN, "--{}=1"],
     *(["retrain", "darts_v2", flag] for flag in (
         "--workdir={}", "--recipe={}", "--seed={}", "--config.data.path={}",
         "--config.{}=1", "--config.seed={}", "--{}=1"))],
    ids=" ".join,
)  # fmt: skip
def test_long_names(command, name, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused([each.replace("{}", name) for each in command], capsys)
    assert len(message) < 1200


def test_the_beginning_and_the_length_are_shown(capsys):
    message = refused(["show", LONG], capsys)
    assert "x" * 40 in message and "... (9,999 characters)" in message
    assert len(message) < 200


def test_names_of_usual_length_are_shown_whole(tmp_path, capsys):
    path = tmp_path / "folder" / ("x" * 60)
    assert str(path) in refused(["show", str(path)], capsys)


def test_folder_of_a_run(tmp_path):
    with pytest.raises(UserError, match="File name too long"):
        RunFolder.open(tmp_path / LONG, {}, {})


@pytest.mark.parametrize("name", ["a\0b", LONG + "\0", "a\nb\0"])
def test_nul_and_control_characters(name, tmp_path, capsys, monkeypatch):
    """They come from Python: no shell can give them."""
    monkeypatch.chdir(tmp_path)
    settings = defaults.settings()
    actions = [lambda: RunFolder.open(name, {}, {}), lambda: load(name),
               lambda: genotypes.draw(load("darts_v2"), f"{name}.png")]  # fmt: skip
    for field in ("genotype", "data.path", "data.name", "algorithm", "compile_cache"):
        config = settings.copy_and_resolve_references()
        config.update_from_flattened_dict({field: name})
        actions.append(lambda config=config: nasjax.run(config, tmp_path / "run"))
    for action in actions:
        with pytest.raises(UserError) as error:
            action()
        assert str(error.value).isprintable() and len(str(error.value)) < 1200
    for command in (*ON_A_RUN, "count", "retrain"):
        assert refused([command, name], capsys)[:-1].isprintable()
    assert not (tmp_path / "run").exists()
