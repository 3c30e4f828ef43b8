import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nasjax
from nasjax.cli import COMMANDS, main
from nasjax.search import PARTS
from nasjax.search.algorithms import partners
from nasjax.spaces import SPACES
from nasjax.spaces.load import load
from nasjax.spaces.published import PUBLISHED

ROOT = Path(__file__).parents[1]


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of a command."""
    code = main(list(map(str, arguments)))
    return code, *capsys.readouterr()


@pytest.fixture
def workdir(tmp_path):
    """The folder of a finished run."""
    result = {
        "algorithm": "zarts_mgs",
        "seed": 3,
        "dataset": "digits",
        "test_accuracy": 0.98333,
        "supernet_valid_accuracy": None,
        "params": 123456,
        "macs": 789,
        "seconds": {"compile": 31.23456, "search": 60.0, "retrain": 9.5},
        "interrupted": 1,
    }
    lines = [
        {"phase": "search", "step": 10, "epoch": 0, "loss": 2.0, "seconds": 1.0},
        {"phase": "search", "step": 40, "epoch": 1, "loss": None, "seconds": 3.0},
        {"phase": "retrain", "step": 5, "epoch": 0, "loss": 0.25, "seconds": 1.0},
    ]
    manifest = {
        "seed": 3, "device": "cpu", "commit": "0123456789abcdef", "dirty": False,
        "cpu": "Model 7", "cores": 2, "started": [{}, {"cpu": "Model 8", "cores": 4}],
    }  # fmt: skip
    files = {
        "config.json": json.dumps({"algorithm": "zarts_mgs"}),
        "manifest.json": json.dumps(manifest),
        "metrics.jsonl": "".join(json.dumps(line) + "\n" for line in lines) + '{"pha',
        "genotype.json": json.dumps(load("pdarts").to_json()),
        "result.json": json.dumps(result),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_list_names_everything(capsys):
    code, out, err = run(capsys, "list")
    assert code == 0 and err == ""
    for name in (*PARTS, *SPACES, *PUBLISHED, "digits", "cifar10"):
        assert name in out
    assert "DARTS, first order" in out
    text = " ".join(out.split())
    assert "With: darts_first, darts_second, " in text  # sanas
    for name, part in PARTS.items():
        assert (f"With: {', '.join(partners(name))}." in text) != part.moves
    assert max(map(len, out.splitlines())) <= 88


# Integers measured with the original PyTorch networks.
@pytest.mark.parametrize(
    ("arguments", "counts"),
    [
        ("darts_v2", {"params": 3_349_342, "macs": 528_359_040}),
        ("darts_v2 --channels 36 --cells 20 --auxiliary", {"params": 3_825_768}),
        (
            "pc_darts_imagenet --channels 48 --cells 14 --classes 1000 "
            "--image-size 224",
            {"params": 5_342_464, "macs": 581_627_328},
        ),
        ("sdarts_adv --channels 16 --cells 8 --classes 100", {"params": 294_036}),
        ("--supernet darts", {"params": 1_930_618}),
        ("--supernet darts7 --channels 16 --classes 100", {"params": 1_953_748}),
    ],
)
def test_count(arguments, counts, capsys):
    code, out, err = run(capsys, "count", *arguments.split())
    found = json.loads(out)
    assert code == 0 and err == "" and set(found) == {"params", "macs"}
    assert found | counts == found


def test_count_of_a_file_and_of_a_finished_run(workdir, capsys):
    _, named, _ = run(capsys, "count", "pdarts", "--cells", 3)
    assert run(capsys, "count", workdir / "genotype.json", "--cells", 3)[1] == named
    code, out, _ = run(capsys, "count", workdir)
    assert code == 0 and json.loads(out) == {"params": 123456, "macs": 789}


def test_the_stem_can_be_chosen(capsys):
    small = ("count", "darts_v1", "--channels", 8, "--cells", 3)
    _, default, _ = run(capsys, *small, "--image-size", 128)
    _, imagenet, _ = run(capsys, *small, "--image-size", 128, "--stem", "imagenet")
    _, cifar, _ = run(capsys, *small, "--image-size", 128, "--stem", "cifar")
    assert default == imagenet != cifar


def test_draw(tmp_path, capsys):
    code, out, _ = run(capsys, "draw", "gdas_v1", "-o", tmp_path / "cells.svg")
    assert code == 0 and out == f"Wrote {tmp_path / 'cells.svg'}\n"
    assert (tmp_path / "cells.svg").stat().st_size > 1000


def test_show_a_finished_run(workdir, capsys):
    code, out, err = run(capsys, "show", workdir)
    assert code == 0 and err == ""
    for words in (
        f"{workdir}: finished",
        "zarts_mgs",
        "2 times",
        "nasjax of commit 0123456789; Model 7, 2 cores, then nasjax of",
        "step 40 (epoch 1): train loss -",
        "step 5 (epoch 0): train loss 0.25",
        "98.33%",
        "123,456",
        "compile 31.23, search 60, retrain 9.5",
        "c(k-1) ── dil_conv_3x3 ─╯",
    ):
        assert words in out
    assert "step 10" not in out and "supernet valid" not in out


def test_show_an_unfinished_run(workdir, capsys):
    for name in ("result.json", "genotype.json", "metrics.jsonl", "manifest.json"):
        (workdir / name).unlink()
        code, out, _ = run(capsys, "show", workdir)
        assert code == 0 and f"{workdir}: not finished, last written " in out


def test_show_changes_nothing(workdir, capsys):
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in workdir.iterdir()}
    run(capsys, "show", workdir)
    after = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in workdir.iterdir()}
    assert before == after


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("count darts_v3", "did you mean 'darts_v2'"),
        ("count --supernet darts8", "Unknown space 'darts8'"),
        ("count --supernet darts --auxiliary", "leave out --auxiliary"),
        ("count darts_v2 --image-size 2", "too small"),
        (
            "count darts_v2 --channels 7 --image-size 224",
            "7 is odd; give an even number",
        ),
        ("draw darts_v2 -o cells.bmp", "must end in .png, .svg or .pdf"),
        ("show {missing}", "There is no folder"),
        ("show {empty}", "is not a run"),
        ("draw {empty} -o cells.png", "has not found an architecture yet"),
    ],
)
def test_bad_input_is_one_sentence(arguments, sentence, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    places = {"missing": tmp_path / "missing", "empty": tmp_path / "empty"}
    code, out, err = run(capsys, *arguments.format(**places).split())
    assert code == 2 and out == "" and sentence in err
    assert (
        err.startswith(f"nasjax {arguments.split()[0]}: ")
        and err.count("\n") == 1
        and err.endswith(".\n")
    )


def test_show_broken_files(workdir, capsys):
    for name in ("genotype.json", "result.json", "manifest.json", "config.json"):
        (workdir / name).write_text("{")
        code, out, err = run(capsys, "show", workdir)
        assert code == 2 and out == "" and name in err


@pytest.mark.parametrize(
    "arguments",
    [
        "count",
        "count darts_v2 --channels 0",
        "count darts_v2 --cells x",
        "count darts_v2 --supernet darts",
        "draw darts_v2",
        "show",
    ],
)
def test_arguments_that_do_not_parse(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments.split())
    assert stopped.value.code == 2 and "usage: nasjax" in capsys.readouterr().err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help(name, capsys):
    pytest.importorskip(COMMANDS[name].module)
    with contextlib.suppress(SystemExit):
        assert main([name, "--help"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"usage: nasjax {name} ") and shown.err == ""


def test_unknown_commands_and_none(capsys):
    code, out, err = run(capsys, "cuont")
    assert code == 2 and out == ""
    assert err.startswith("nasjax: Unknown command 'cuont'; did you mean 'count'?")
    assert run(capsys, "--help")[1] == run(capsys)[2]
    assert run(capsys)[:2] == (2, "")
    assert run(capsys, "--version")[1] == f"nasjax {nasjax.__version__}\n"


@pytest.mark.parametrize(
    "given, meant",
    [("train", "'run' or 'retrain'"), ("search", "'run'"), ("evaluate", "'retrain'"),
     ("Search", "'run'"), ("help shwo", "'show'"), ("help train", "'run' or 'retrain'")],
)  # fmt: skip
def test_names_of_other_programs(given, meant, capsys):
    code, out, err = run(capsys, *given.split())
    assert code == 2 and out == "" and f"; did you mean {meant}? Known: " in err


@pytest.mark.parametrize("command", ["--help", "help", "run --help"])
def test_the_help_lists_every_config(command, capsys):
    _, out, _ = run(capsys, *command.split())
    assert re.search(r"^  zarts_mgs +ZARTS-MGS: alpha moved by .*\.$", out, re.M)
    for file in (ROOT / "configs").glob("*.py"):
        assert re.search(rf"^  {file.stem} +\S.*\.$", out, re.M)
    assert max(map(len, out.splitlines())) <= 100


def test_the_help_of_a_run_lists_what_a_user_needs(capsys):
    _, out, _ = run(capsys, "run", "--help")
    for words in (
        "--config=",
        ":cifar10",
        "--workdir",
        "--config.FIELD",
        "defaults.py",
    ):
        assert words in out


def test_a_reader_that_closes_the_pipe():
    """As `nasjax list | head -1` does."""
    program = (
        f"{sys.executable} -m nasjax.cli list | head -c 1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""


def test_as_a_module_and_without_heavy_imports():
    help_ = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "nasjax.cli", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "show" in help_.stdout
    for heavy in ("jax", "numpy", "matplotlib"):
        assert f"| {heavy}\n" not in help_.stderr.replace("  ", "")


def test_output_that_cannot_show_line_drawing(workdir):
    environment = {"PYTHONIOENCODING": "ascii", "PATH": os.environ["PATH"]}
    shown = subprocess.run(
        [sys.executable, "-m", "nasjax.cli", "show", str(workdir)],
        capture_output=True,
        env=environment,
        check=True,
    )
    assert b"dil_conv_3x3" in shown.stdout
