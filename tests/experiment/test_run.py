"""The real program, from its flags to result.json, at the smallest size."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from support.tiny import flags

from nasjax.engine.checkpoint import Checkpoints
from nasjax.spaces import darts
from nasjax.spaces.genotype import Genotype

pytestmark = pytest.mark.slow

PICTURES = ("cells.png", "alpha.png", "collapse.png", "curves.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder of 24x24 one-channel images of 3 classes, stripes in 3 directions."""
    place = tmp_path_factory.mktemp("runs")
    random = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(24), np.arange(24))
    for name, wave in {"down": down, "across": across, "slant": across + down}.items():
        (place / "images" / name).mkdir(parents=True)
        for index in range(60):
            stripes = 127 + 100 * np.sin(wave / 2 + random.uniform(0, 6))
            noisy = stripes + random.normal(0, 10, stripes.shape)
            pixels = noisy.clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(place / "images" / name / f"{index}.png")
    return place


def start(place, workdir, **fields):
    """Starts the program, which keeps compiled programs in XDG_CACHE_HOME."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # compiling takes nearly all of the time
        "TF_CPP_MIN_LOG_LEVEL": "3",  # some releases warn about XLA's cache
    }  # fmt: skip
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)  # it would take precedence
    command = [
        sys.executable, "-m", "nasjax.main",
        f"--config={ROOT}/configs/zarts_mgs.py", f"--workdir={workdir}",
        *flags(
            data__path="images", checkpoint_every=1, arch__zarts_mgs__samples=2,
            arch__zarts_mgs__inner_steps=1, arch__zarts_mgs__every=1,
            collapse__interval=1, **fields,
        ),
    ]  # fmt: skip
    return subprocess.Popen(
        command, cwd=place, env=environment, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return out


@pytest.fixture(scope="module")
def finished(place):
    """(folder, output) of an uninterrupted run."""
    return place / "whole", finish(start(place, "whole"))


def contents(folder):
    """Path -> bytes of every file."""
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def read(folder, name):
    return json.loads((folder / name).read_text())


def kept():
    """Name -> inode of every kept compiled program; rewriting a file changes its inode."""
    cache = Path(os.environ["XDG_CACHE_HOME"])
    return {path.name: path.stat().st_ino for path in cache.rglob("*.program")}


def states(folder):
    """Phase -> bytes of its last state: weights, statistics, alpha, optimisers."""
    found = {}
    for phase in ("search", "retrain", "random_0"):
        checkpoints = Checkpoints(folder / "checkpoints" / phase)
        _, found[phase] = checkpoints._read(checkpoints.latest())
    return found


def test_result_of_own_images(finished):
    folder, out = finished
    result = read(folder, "result.json")
    assert set(result) >= {
        "algorithm", "estimator", "seed", "dataset", "genotype", "test_accuracy",
        "params", "macs", "supernet_valid_accuracy", "seconds", "interrupted",
    }  # fmt: skip
    assert result["algorithm"] == "zarts_mgs"
    assert result["estimator"] == "mgs_likelihood"
    assert (result["seed"], result["dataset"], result["interrupted"]) == (
        0,
        "images",
        0,
    )
    for name in ("test_accuracy", "random_test_accuracy", "supernet_valid_accuracy"):
        assert 0 <= result[name] <= 1
    assert set(result["seconds"]) == {"compile", "search", "retrain"}
    assert min(result["seconds"].values()) > 0
    assert type(result["params"]) is type(result["macs"]) is int
    space = darts(("skip_connect", "max_pool_3x3"))
    found = Genotype.from_json(result["genotype"], space)
    assert found == Genotype.from_json(read(folder, "genotype.json"), space)
    assert "24x24x1 images, 3 classes, 72 / 72 / 36 for weights" in out
    assert f"test accuracy {result['test_accuracy']:.2%}" in out
    assert "random cell" in out and str(folder) in out
    assert "what to try next" in out


def test_files_of_a_run(finished):
    folder, _ = finished
    manifest = read(folder, "manifest.json")
    assert manifest["seed"] == 0 and len(manifest["started"]) == 1
    assert "--config.search.channels=2" in manifest["command"]
    assert {"commit", "dirty", "cpu", "cores"} <= set(manifest)
    for name in PICTURES:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    lines = list(map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()))
    evaluated = [line for line in lines if "valid_accuracy" in line]
    assert [line["epoch"] for line in evaluated] == [1, 2]
    assert {"entropy_normal", "skip_normal", "loss", "accuracy"} <= set(evaluated[0])
    assert {line["phase"] for line in lines} == {"search", "retrain", "random_0"}


def test_finished_run_does_nothing(place, finished):
    folder, out = finished
    before = contents(folder)
    again = finish(start(place, "whole"))
    assert "finished" in again
    assert contents(folder) == before
    assert again.splitlines()[-1] == out.splitlines()[-1]


def test_another_config_is_refused(place, finished):
    folder, _ = finished
    before = contents(folder)
    process = start(place, "whole", seed=1)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 2
    assert out == "" and "seed is 0 there and 1 here" in err and err.count("\n") == 1
    assert contents(folder) == before


def test_killed_run_ends_with_the_same_bits(place, finished):
    whole, _ = finished
    folder, compiled = place / "killed", kept()
    assert len(compiled) >= 9  # 5 of the search, 2 of each retraining
    moments = {
        "search": folder / "checkpoints" / "search" / "1",
        "retrain": folder / "checkpoints" / "retrain" / "1",
    }
    for moment in moments.values():
        process = start(place, "killed")
        wait_for(moment, process)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL
        assert not (folder / "result.json").exists()
    finish(start(place, "killed"))
    result, expected = read(folder, "result.json"), read(whole, "result.json")
    assert result.pop("interrupted") == 2 and expected.pop("interrupted") == 0
    del result["seconds"], expected["seconds"]
    assert result == expected
    assert read(folder, "genotype.json") == read(whole, "genotype.json")
    assert states(folder) == states(whole)
    assert kept() == compiled, "a resumed run compiles nothing"


def test_signals_write_a_checkpoint_and_say_how_to_go_on(place, finished):
    whole, _ = finished
    folder = place / "stopped"
    for phase, signum in (("search", signal.SIGTERM), ("retrain", signal.SIGINT)):
        process = start(place, "stopped")
        wait_for(folder / "checkpoints" / phase / "1", process)
        process.send_signal(signum)
        _, err = process.communicate(timeout=120)
        assert process.returncode == 128 + signum
        assert "checkpoint was written" in err and "Traceback" not in err
        assert f"python -m nasjax.main --config={ROOT}/configs/zarts_mgs.py" in err
    finish(start(place, "stopped"))
    assert states(folder) == states(whole)
    assert read(folder, "result.json")["interrupted"] == 2


def wait_for(path, process):
    until = time.monotonic() + 600
    while not path.exists():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.005)
