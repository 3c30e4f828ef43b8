"""The studies of a real, tiny search, from the command line to their files."""

import json
import os
import runpy
import shlex
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from matplotlib.image import imread
from support.tiny import TwoCells, shrink

import nasjax
from nasjax.analysis import (
    condition,
    convergence,
    importance,
    landscape,
    runs,
    stability,
)
from nasjax.core.errors import UserError
from nasjax.engine.checkpoint import Checkpoints
from nasjax.engine.progress import Progress
from nasjax.engine.workdir import RunFolder
from nasjax.experiment.build import build
from nasjax.spaces import Macro

SMALL = ("--steps=2", "--images=32")


@pytest.fixture(scope="module", autouse=True)
def two_cells():
    """Makes the second of two cells the only reduction, in all tests of this file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Macro, "reductions", TwoCells.reductions)
        yield


def tiny():
    path = ROOT / "configs" / "zarts_mgs.py"
    config = shrink(runpy.run_path(str(path))["get_config"]())
    config.arch.zarts_mgs.update(samples=2, inner_steps=1, every=1)
    config.search.cells = config.retrain.cells = 2
    return config


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """(folder, state) of a search whose final state is its initial state."""
    path = tmp_path_factory.mktemp("runs") / "searched"
    made = build(tiny())
    stage = made.algorithm.stages[-1]
    search = made.begin(stage, None)
    state = jax.jit(search.init)(jax.random.key(0))
    with RunFolder.open(path, made.config.to_dict(), {"command": "c"}) as folder:
        Checkpoints(path / "checkpoints" / "search").save(3, state, {})
        folder.write_outcome(stage.outcome, made.outcome(stage, search, state))
    return path, state


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run."""
    path = tmp_path_factory.mktemp("runs") / "finished"
    config = tiny()
    config.retrain.random = 0
    nasjax.run(config, path, Progress(quiet=True))
    return path


def read(path):
    return json.loads(path.read_text())


def test_load(searched):
    path, state = searched
    run = runs.load(path)
    assert run.stage == "search" and run.experiment.config.algorithm == "zarts_mgs"
    same = jax.tree.map(lambda a, b: bool((a == b).all()), run.state, state)
    assert all(jax.tree.leaves(same))


def test_running_search(searched, tmp_path):
    shutil.copytree(searched[0], tmp_path / "running")
    (tmp_path / "running" / "genotype.json").unlink()
    assert int(runs.load(tmp_path / "running", finished=False).state.step) == 0
    with pytest.raises(UserError, match="is not finished; resume it with the .*: c"):
        runs.load(tmp_path / "running")


def test_objective_without_inner_steps_is_the_validation_loss(searched):
    run = runs.load(searched[0])
    train, val = runs.batches(run, jax.random.key(1), 3, 16)
    assert train["image"].shape == (3, 32, 8, 8, 1) and val["label"].shape == (16,)
    none = jax.tree.map(lambda leaf: leaf[:0], train)
    w, arch = run.state.w, run.state.arch
    loss = jax.jit(runs.objective(run, 0.1))(arch, w, none, val)
    expected = jax.jit(run.search.problem.val)(w, arch, val)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    again, _ = runs.batches(run, jax.random.key(1), 3, 16)
    assert bool(jnp.array_equal(train["image"], again["image"]))


@pytest.mark.slow
def test_condition(searched, capsys):
    path, _ = searched
    assert condition.main([str(path), *SMALL, "--directions=3"]) == 0
    report = read(path / "condition.json")
    assert [panel["inner_steps"] for panel in report["panels"]] == [0, 1, 2]
    for panel in report["panels"]:
        assert len(panel["ratios"]) == 3 and panel["number"] == max(panel["ratios"])
    assert report["look_ahead"] == {"rate": 0.005, "images": 32, "seed": 0}
    assert imread(path / "condition.png")[..., :3].std() > 0.01
    assert "M   loss" in capsys.readouterr().out


@pytest.mark.slow
def test_landscape(searched, capsys, monkeypatch):
    path, state = searched
    assert landscape.MOVES == 10  # as in the released code; each takes seconds here
    monkeypatch.setattr(landscape, "MOVES", 4)
    assert landscape.main([str(path), *SMALL, "--points=5"]) == 0
    report = read(path / "landscape.json")
    first, *_, last = report["panels"]
    assert np.shape(last["losses"]) == (5, 5) and report["axis"] == [
        -1,
        -0.5,
        0,
        0.5,
        1,
    ]
    assert last["minimum"] == np.min(last["losses"])
    assert last["correlation_with_last"] == 1
    run = runs.load(path)
    key = runs.derive(jax.random.key(0), "landscape")
    _, val = runs.batches(run, key, 2, 32)
    centre = jax.jit(run.search.problem.val)(state.w, state.arch, val)
    np.testing.assert_allclose(first["losses"][2][2], centre, rtol=1e-5)
    found = {each["method"]: np.array(each["places"]) for each in report["paths"]}
    assert list(found) == ["DARTS 1st", "DARTS 2nd", "RS", "MGS", "GLD"]
    for path_of in found.values():
        assert path_of.shape == (5, 2) and path_of[0].tolist() == [-0.5, 0.5]
    assert imread(path / "landscape.png")[..., :3].std() > 0.01
    assert "DARTS 1st" in capsys.readouterr().out


@pytest.mark.slow
def test_importance(searched):
    path, state = searched
    arguments = ["--samples=6", "--temperatures", "1", "0.1"]
    assert importance.main([str(path), *SMALL, *arguments]) == 0
    report = read(path / "importance.json")
    assert report["dimensions"] == sum(a.size for a in state.arch.values())
    assert report["spread"] == 0.1 and len(report["losses"]) == 6
    assert len(report["weighed"]) == 4 and report["guide_norm"] > 0
    for each in report["weighed"]:
        assert abs(sum(each["report"]["weights"]) - 1) < 1e-4
    assert imread(path / "importance.png")[..., :3].std() > 0.01


@pytest.mark.slow
def test_convergence(finished, capsys):
    assert convergence.main([str(finished)]) == 0
    report, result = read(finished / "convergence.json"), read(finished / "result.json")
    assert [row["epoch"] for row in report["epochs"]] == [1, 2]
    last = report["epochs"][-1]
    # The architecture of the run itself was retrained in the same way.
    assert abs(last["test_accuracy"] - result["test_accuracy"]) < 1e-6
    assert not (finished / "convergence/checkpoints" / last["architecture"]).exists()
    assert (last["params"], last["macs"]) == (result["params"], result["macs"])
    assert report["architectures"][last["architecture"]] == result["genotype"]
    assert report["random_test_accuracy"] == pytest.approx(
        result["random_test_accuracy"], abs=1e-6
    )
    folder = finished / "convergence"
    command = read(folder / "manifest.json")["command"]
    assert command == shlex.join(["nasjax", "convergence", str(finished)])
    retrained = {p: os.stat(p).st_mtime_ns for p in folder.rglob("checkpoints/**/*")}
    shown = capsys.readouterr().out
    (folder / "result.json").unlink()  # as if killed just before the end
    assert convergence.main([str(finished)]) == 0
    assert capsys.readouterr().out == shown
    assert {p: os.stat(p).st_mtime_ns for p in retrained} == retrained
    assert read(finished / "convergence.json") == report


@pytest.mark.slow
def test_convergence_of_something_else_is_refused(finished, tmp_path, capsys):
    arguments = [str(finished), "--every=2", f"--workdir={tmp_path}"]
    (tmp_path / "config.json").write_text(json.dumps({"run": {}}))
    assert convergence.main(arguments) == 2
    assert "holds a run of another config" in capsys.readouterr().err


@pytest.mark.slow
def test_stability_of_a_finished_search(finished, capsys):
    assert stability.main([str(finished), "--measure", "--images=32"]) == 0
    out = capsys.readouterr().out
    found = read(finished / "stability.json")
    assert found["verdict"].upper() in out and "after 2 of 2 epochs of zarts_mgs" in out
    assert all(reason in out for reason in found["reasons"])
    assert "was not measured" in " ".join(found["reasons"])
    assert imread(finished / "stability.png")[..., :3].std() > 0.01
    measured = found["measured"]
    assert all(np.isfinite(value) for value in measured.values())
    # The exact eigenvalue over all of alpha is no smaller than along any direction.
    largest, strongest = (
        measured[name]
        for name in ("largest eigenvalue, in alpha", "largest in magnitude")
    )
    assert largest <= abs(strongest) + 1e-6 and measured["error of these"] == 0
    assert measured["bound C of the difference"] >= 0


def test_stability_of_a_search_without_an_epoch(searched, capsys):
    assert stability.main([str(searched[0])]) == 2
    assert "has not ended an epoch yet" in capsys.readouterr().err
