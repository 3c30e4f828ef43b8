"""The run folder: atomic, resumable, and it refuses rather than overwrites."""

import errno
import json
import os
import resource

import pytest

from nasjax.core.errors import UserError
from nasjax.engine import workdir as folder_module
from nasjax.engine.workdir import RunFolder

CONFIG = {"seed": 1, "data": {"path": "", "fractions": (0.4, 0.4, 0.2)}, "search": {}}
MANIFEST = {"seed": 1, "versions": {"jax": "0.10.2"}, "command": ["main", "--x"]}


def start(path, config=CONFIG, manifest=MANIFEST):
    return RunFolder.open(path, config, manifest)


def everything(path):
    return {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}


def test_a_new_run_records_its_config_and_manifest(tmp_path):
    with start(tmp_path / "runs" / "one") as run:
        assert run.path == tmp_path / "runs" / "one"
        assert run.interrupted == 0
        config = json.loads((run.path / "config.json").read_text())
        assert config == json.loads(json.dumps(CONFIG))
        manifest = json.loads((run.path / "manifest.json").read_text())
        assert manifest["versions"] == {"jax": "0.10.2"}
        assert [list(s) for s in manifest["started"]] == [["time"]]
        assert sorted(p.name for p in run.path.iterdir()) == [
            "config.json",
            "manifest.json",
        ]


def test_the_same_config_resumes_and_every_start_is_counted(tmp_path):
    for restarts in range(3):
        with start(tmp_path) as run:
            assert run.interrupted == restarts
    with start(tmp_path, manifest={**MANIFEST, "versions": {"jax": "0.12"}}) as run:
        assert run.manifest["versions"] == {"jax": "0.10.2"}
        assert run.manifest["started"][-1]["versions"] == {"jax": "0.12"}
        assert "versions" not in run.manifest["started"][1]


def test_a_finished_run_is_opened_without_changing_it(tmp_path):
    with start(tmp_path) as run:
        run.write_outcome("result", {"test_accuracy": 0.98})
    before = everything(tmp_path)
    with start(tmp_path) as run:
        assert run.finished
        assert run.read_outcome("result") == {"test_accuracy": 0.98}
        assert run.read_outcome("genotype") is None
    assert everything(tmp_path) == before


def test_another_config_is_refused_naming_the_fields(tmp_path):
    start(tmp_path).close()
    before = everything(tmp_path)
    other = {"seed": 2, "data": {"path": "", "fractions": (0.4, 0.4, 0.2)}, "new": 1}
    with pytest.raises(UserError) as error:
        start(tmp_path, other)
    assert "new is absent there and 1 here" in str(error.value)
    assert "seed is 1 there and 2 here" in str(error.value)
    assert "search is {} there and absent here" in str(error.value)
    assert "data" not in str(error.value).partition("another config")[2]
    assert everything(tmp_path) == before
    start(tmp_path).close()


@pytest.mark.parametrize(
    ("stored", "manifest", "says"),
    [
        ({}, MANIFEST, "by nasjax of an unknown version, is without a format"),
        ({}, {"versions": {"nasjax": "0.1.0"}}, "by nasjax 0.1.0, is without a format"),
        ({"format": 3}, {"versions": {"nasjax": "9"}}, "by nasjax 9, is of format 3"),
    ],
)
def test_a_run_of_another_version_is_refused_not_compared(
    tmp_path, stored, manifest, says
):
    """Fields of another version differ in meaning: the message does not list them."""
    start(tmp_path, {"seed": 1, "base": "darts_first", **stored}, manifest).close()
    before = everything(tmp_path)
    with pytest.raises(UserError) as error:
        start(tmp_path, {"seed": 1, "format": 2})
    message = str(error.value)
    assert says in message and "here it is of format 2" in message
    assert f"{tmp_path} holds" in message and "--workdir=" in message
    assert "base" not in message and "\n" not in message
    assert everything(tmp_path) == before


def test_what_is_free_may_differ(tmp_path):
    start(tmp_path).close()
    other = CONFIG | {"seed": 2}
    with RunFolder.open(tmp_path, other, MANIFEST, free=("seed",)) as run:
        stored = json.loads((run.path / "config.json").read_text())
    assert stored["seed"] == 1
    with pytest.raises(UserError, match="seed is 1 there and 2 here"):
        RunFolder.open(tmp_path, other, MANIFEST, free=("data.path",))


def test_true_is_not_one(tmp_path):
    start(tmp_path, {"flip": True}).close()
    with pytest.raises(UserError, match="flip is true there and 1 here"):
        start(tmp_path, {"flip": 1})


def test_a_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match="not a run of nasjax .*'thesis.tex'"):
        start(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("left", ["manifest.json", ".nasjax-probe"])
def test_a_start_that_was_killed_half_way_is_taken_up(tmp_path, left):
    (tmp_path / left).write_text(json.dumps({**MANIFEST, "started": []}))
    with start(tmp_path):
        assert (tmp_path / "config.json").exists()


@pytest.mark.parametrize("name", ["config.json", "manifest.json"])
@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_damaged_files_are_refused_by_name(tmp_path, name, text):
    start(tmp_path).close()
    (tmp_path / name).write_bytes(text.encode("latin-1"))
    before = everything(tmp_path)
    with pytest.raises(UserError, match=name):
        start(tmp_path)
    assert everything(tmp_path) == before


def test_a_folder_is_for_one_process_at_a_time(tmp_path):
    with start(tmp_path), pytest.raises(UserError, match="Another process is using"):
        start(tmp_path)
    run = start(tmp_path)
    del run  # a notebook forgets to close
    start(tmp_path).close()


@pytest.mark.parametrize("below", ["file", "file/run", "file/deep/run"])
def test_an_unwritable_folder_is_a_sentence(tmp_path, below):
    (tmp_path / "file").write_text("kept")
    with pytest.raises(UserError, match="--workdir"):
        start(tmp_path / below)
    assert everything(tmp_path) == {tmp_path / "file": b"kept"}


def test_a_full_disk_refuses_the_run_and_leaves_no_trace(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as if the disk were full
    try:
        with pytest.raises(UserError, match="Cannot write to .*/run: File too large"):
            start(tmp_path / "deep" / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def _no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, call):
    with start(tmp_path) as run:
        run.write_outcome("genotype", {"a": 1})
        before = everything(tmp_path)
        monkeypatch.setattr(folder_module.os, call, _no_space)
        with pytest.raises(UserError, match="No space left on device"):
            run.write_outcome("genotype", {"a": 2})
        assert everything(tmp_path) == before


def test_a_config_json_cannot_hold_is_refused(tmp_path):
    with pytest.raises(UserError, match="config cannot be written as JSON"):
        start(tmp_path / "run", {"rate": float("inf")})
    assert list(tmp_path.iterdir()) == []


def test_metrics_beyond_the_checkpoint_are_dropped(tmp_path):
    with start(tmp_path) as run:
        run.drop_after("search", 0)
        assert run.metrics() == []
        lines = [
            {"phase": p, "step": s} for p in ("search", "retrain") for s in (5, 10)
        ]
        for line in lines:
            run.log(line)
        with open(tmp_path / "metrics.jsonl", "a") as file:
            file.write('{"phase": "retrain", "st')  # torn by a kill
        assert run.metrics() == lines
        run.drop_after("retrain", 5)
        assert run.metrics() == lines[:3]
        run.log(lines[3])
        text = (tmp_path / "metrics.jsonl").read_text()
        assert text == "".join(json.dumps(line) + "\n" for line in lines)
        untouched = (tmp_path / "metrics.jsonl").stat().st_ino
        run.drop_after("retrain", 10)
        assert (tmp_path / "metrics.jsonl").stat().st_ino == untouched
        with pytest.raises(ValueError, match="JSON"):
            run.log({"loss": float("nan")})
