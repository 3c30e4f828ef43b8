"""A dry run of the accelerator benchmark, and lowering of every program for CUDA."""

import contextlib
import json
import math
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from benchmarks import accelerator, fast, many, sizes
from benchmarks.correct import FOUND, TOLERANCE, WAYS
from benchmarks.ours import Ours
from benchmarks.record import Plan, Record
from benchmarks.worker import SideError
from nasjax.spaces import darts
from nasjax.spaces.table import packaged
from nasjax.tasks.base import At


def numbers(found):
    """All numbers in a report."""
    if isinstance(found, dict):
        found = found.values()
    if isinstance(found, int | float):
        return [found]
    if isinstance(found, str) or found is None:
        return []
    return [number for each in found for number in numbers(each)]


@pytest.fixture
def quick(monkeypatch):
    """Makes processes that a test starts compile with the tests' settings."""
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


def dry(folder, *parts, more=()):
    """The reports of these parts in a dry run."""
    flags = ["--dry", "-o", str(folder), "--parts", ",".join(parts)]
    accelerator.main([*flags, *map(str, more)])
    reports = {}
    for part in parts:
        text = (folder / f"{part}.json").read_text()
        assert str(Path.home()) not in text and str(folder) not in text
        reports[part] = found = json.loads(text)
        assert "error" not in found and "skipped" not in found, found
        assert found["dry"] and found["header"]["versions"]["jax"] == jax.__version__
        assert found["header"]["card"]["platform"] == "cpu"
        assert all(map(math.isfinite, numbers(found)))
    return reports


def test_steps_are_compared_in_every_way(tmp_path):
    errors = dry(tmp_path, "correct")["correct"]["errors"]
    assert set(errors["weight_step"]) == {", ".join(way) for way in WAYS}
    assert errors["second_order"]
    for own in errors.values():
        assert 0 < min(own.values()) <= max(own.values()) < TOLERANCE


def test_our_steps_are_timed(tmp_path, capsys):
    report = dry(tmp_path, "fast")["fast"]
    ours = report["sides"]["shift"]
    assert ours["compile_seconds"]["weight_step"] > 0 and ours["rates"]
    (weight,) = ours["seconds"]["weight_step"]
    assert 0 < weight["least"] <= weight["median"] and weight["planned_bytes"] > 0
    assert ours["profile"]["weight_step"]["kernels"] > 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(":")[0] for line in lines} == {"fast"}
    assert "goals" not in report, "a dry run has none"


@pytest.mark.parametrize("part", ["candidates", "seeds"])
def test_many_in_one_program(part, tmp_path, capsys):
    found = dry(tmp_path, part)[part][part]
    assert set(found) == {"1", "2"}
    if part == "candidates":
        assert found["2"]["planned_over_one"] > 1
    lines = capsys.readouterr().out.splitlines()
    assert {line.split(":")[0] for line in lines} == {part}


def test_what_cannot_be_done_is_said(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        accelerator.main(["--parts", "runs", "-o", str(tmp_path)])
    assert "did you mean 'run'" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        accelerator.main(["--cifar", "nowhere.npz", "-o", str(tmp_path)])
    assert "nowhere.npz" in capsys.readouterr().err
    accelerator.main(["--parts", "run", "--budget", "1", "-o", str(tmp_path)])
    assert "it needs" in json.loads((tmp_path / "run.json").read_text())["skipped"]


def test_a_part_that_fails_says_where(tmp_path, monkeypatch):
    monkeypatch.setattr(sizes, "smallest", lambda: 1 / 0)
    accelerator.main(["--dry", "--parts", "candidates,seeds", "-o", str(tmp_path)])
    error = json.loads((tmp_path / "candidates.json").read_text())["error"]
    assert error["type"] == "ZeroDivisionError"
    assert (
        error["traceback"][-1].endswith("1 / 0)") and "/" not in error["traceback"][0]
    )
    assert "seeds" in json.loads((tmp_path / "seeds.json").read_text()), "resumes"


@pytest.mark.slow
def test_a_part_in_a_process_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setitem(
        accelerator.PARTS, "search", accelerator.Part("benchmarks.runs", 0, 1)
    )
    accelerator.main(["--parts", "search", "-o", str(tmp_path)])
    found = json.loads((tmp_path / "search.json").read_text())
    assert found["skipped"] == "without --cifar" and found["header"]


@pytest.mark.slow
def test_the_run_is_killed_and_resumed(tmp_path, quick):
    found = dry(tmp_path, "run")["run"]
    assert found["resumed"] and found["result"]["interrupted"] == 1
    assert len(found["memory"]) == 1
    assert 0 <= found["result"]["supernet_valid_accuracy"] <= 1


@pytest.mark.slow
def test_searches_are_judged_by_the_table(tmp_path, quick):
    images = tmp_path / "images.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (150, 8, 8, 3), np.uint8)
    np.savez(images, image=pixels, label=np.arange(150) % 3)
    more = ("--cifar", images)
    found = dry(tmp_path / "reports", "search", more=more)["search"]["searches"]
    assert set(found) == {"darts_first"}
    for own in found.values():
        accuracy = 100 * own["true_accuracy"]["cifar10"]
        assert np.isclose(packaged().column("cifar10_test_200ep"), accuracy).any()
        assert len(own["by_epoch"]) == own["epochs"] == 1


@pytest.mark.parametrize("spelling", ["conv", "shift"])
def test_programs_lower_for_cuda(spelling):
    """Programs lower for CUDA; lowering compiles nothing and needs no GPU."""
    settings = sizes.SMALLEST | {"lowering": spelling}
    primitives = ("skip_connect", "max_pool_3x3", "avg_pool_3x3", "dil_conv_3x3")
    net = sizes.net(darts(primitives), sizes.One(settings["channels"], 1))
    ours, shape = Ours(SimpleNamespace(**settings), **net), jax.eval_shape

    def lower(function, *given):
        traced = jax.jit(function).trace(*given)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
        assert "stablehlo" in text and "inlineable" not in text, "no CPU-only calls"

    states = {}
    for name, step in ours.steps.items():
        states[name] = shape(ours.inits[name], jax.random.key(0))
        lower(step, states[name], *ours.batches[name])
    for name, found in FOUND.items():  # a dry run compares two of them
        assert jax.tree.leaves(found(states[name])), name
    state = states["weight_step"]
    part = {"image": np.zeros((8, 8, 8, 3), np.uint8), "label": np.zeros(8, np.int32)}
    mix = shape(lambda arch: ours.problem.relaxation.mix(arch, At()), state.arch)
    lower(ours.problem.task.measure, state.w, state.batch_stats, mix, part)


class Stub:
    """A side that answers at once; `broken` commands fail, `late` ones never answer."""

    def __init__(self, seconds, broken=(), late=()):
        self.seconds, self.broken, self.late = seconds, broken, late
        self.told, self.stopped = [], False

    def ask(self, command, *rest):
        self.told.append(command)

    def ready(self, seconds):
        return self.told[-1] not in self.late

    def answer(self):
        if self.told[-1] in self.broken:
            raise SideError("it cannot")
        return {"profile": {"kernels": 0}, "rates": None}.get(
            self.told[-1], self.seconds
        )

    def stop(self):
        self.stopped = True


def race(tmp_path, **stubs):
    """(report, stubs used) of `fast` on stubs."""
    made = []

    def worker(side, settings):
        kind = side if settings["channels"] == sizes.FULL["channels"] else "wide"
        made.append((kind, stubs.get(kind, Stub(1.0))))
        return made[-1][1]

    plan = Plan(tmp_path, dry=False, command="")
    record = Record("fast", plan, time.time() + 600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fast, "Worker", worker)
        patch.setattr(fast.importlib.util, "find_spec", lambda name: True)
        patch.setattr(contextlib.ExitStack, "enter_context", lambda self, each: each)
        fast.fast(record)
    return record.report, made


def met(report):
    return {goal["what"]: goal["met"] for goal in report.get("goals", [])}


def test_a_race_is_judged(tmp_path):
    report, made = race(tmp_path, ours=Stub(1.0), peer=Stub(2.0), compiled=Stub(0.5))
    assert met(report) == {
        "seconds to compile weight and first-order step": True,
        "weight_step, ours over eager PyTorch": False,  # 0.5; the goal is 0.4
        "second_order, ours over eager PyTorch": False,
        "weight_step, ours over torch.compile": False,
    }
    assert all(stub.stopped for kind, stub in made if kind != "wide")
    assert not any("out" in side for side in report["sides"].values())


def test_nothing_is_timed_while_another_side_compiles(tmp_path):
    order = []

    class Told(Stub):
        def __init__(self, side):
            super().__init__(1.0)
            self.side = side

        def ask(self, command, *rest):
            super().ask(command, *rest)
            order.append((self.side, command))

    race(tmp_path, **{side: Told(side) for side in ("ours", "peer", "compiled")})
    waiting = slice(*map(order.index, (("compiled", "compile"), ("compiled", "run"))))
    assert ("peer", "run") in order[: waiting.start], "it was timed before"
    told = [command for _, command in order[waiting]]
    assert "compile" in told and told.index("run") > max(
        index for index, command in enumerate(told) if command == "compile"
    )


@pytest.mark.parametrize("command", ["planned", "counted", "rates", "profile"])
def test_what_a_side_cannot_say_of_itself_does_not_end_the_race(tmp_path, command):
    stubs = {"ours": Stub(1.0, broken=(command,)), "peer": Stub(2.0)}
    report, _ = race(tmp_path, **stubs, compiled=Stub(2.0))
    assert "out" not in report["sides"]["shift"] and len(met(report)) == 4


@pytest.mark.parametrize("how", ["broken", "late"])
def test_a_side_that_fails_is_out_and_the_others_go_on(tmp_path, how):
    compiled = Stub(1.0, **{how: ("compile",)})
    report, _ = race(tmp_path, ours=Stub(1.0), peer=Stub(4.0), compiled=compiled)
    assert report["sides"]["torch.compile"]["out"] and compiled.stopped
    assert met(report) == {
        "seconds to compile weight and first-order step": True,
        "weight_step, ours over eager PyTorch": True,
        "second_order, ours over eager PyTorch": True,
    }


def test_a_count_that_does_not_fit_is_no_end(tmp_path):
    def measured(count):
        if count == 4:
            raise MemoryError("too large")
        return "fits"

    record, found = Record("candidates", Plan(tmp_path, False, ""), time.time() + 9), {}
    for count in (1, 4, 2):
        many._tried(record, "candidates", count, found, measured)
    assert found == {"4": {"error": "too large"}}
