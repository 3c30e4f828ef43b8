"""`config.seeds`: several runs of one command, each in the folder of an ordinary run."""

import json
import os
import signal
from types import SimpleNamespace

import chex
import numpy as np
import pytest
from conftest import ROOT
from tasks.test_own_domain import load

from launch.plan import plan
from nasjax import main
from nasjax.core.errors import UserError
from nasjax.core.limits import at_least
from nasjax.engine.checkpoint import Checkpoints
from nasjax.engine.memory import TooLarge
from nasjax.engine.signals import Interrupted
from nasjax.engine.workdir import flat
from nasjax.experiment import defaults, groups, seeds, single
from nasjax.experiment.run import run
from nasjax.tasks import DOMAINS, Kind

SEEDS = (5, 6)
CLOSE = {"rtol": 1e-4, "atol": 2e-5}  # rounding, as in `harness.assert_close`
CODE = "of these tests"  # the tests share their compiled programs


@pytest.fixture(scope="module", autouse=True)
def points():
    """Runs on points in the plane, without pictures, which take longer than a run."""
    kind = Kind(load, lambda scale: {"count": 64}, {"count": at_least(8)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DOMAINS, "points", kind)
        patch.setattr(single.pictures, "draw", lambda *given: ())
        patch.setattr(single.page, "write", lambda *given: None)
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("seeds")


@pytest.fixture
def config(place):
    return configured(place)


def configured(place, **fields):
    config = defaults.settings()
    config.task, config.algorithm, config.devices = "points", "darts_first", 1
    config.space.primitives = ("skip_connect", "sep_conv_3x3", "max_pool_3x3")
    config.search.update(epochs=3, warmup_epochs=1, batch=16, rate=0.002)
    config.retrain.update(epochs=0, random=0)
    config.update(compile_cache=f"{place}/compiled", log_every=2, checkpoint_every=2)
    config.update(seed=SEEDS[0], **fields)
    return config


@pytest.fixture(scope="module")
def alone(place):
    """Seed -> folder of its own run."""
    folders = {seed: place / f"alone_{seed}" for seed in SEEDS}
    for seed, folder in folders.items():
        config = configured(place)
        config.seed = seed
        run(config, folder, code=CODE)
    return folders


@pytest.fixture(scope="module")
def together(place):
    """The folder of both seeds, and what `run` returned."""
    folder = place / "together"
    config = configured(place, seeds=2, seeds_at_once=2)
    return folder, run(config, folder, command=COMMAND, code=CODE)


COMMAND = (
    "nasjax run --config=a.py --config.seed=5 --config.seeds=2 --workdir=b "
    "--config.seeds_at_once=2 --config.log_every=2"
)


def read(folder, name):
    return json.loads((folder / name).read_text())


def state(folder):
    """Name -> array of the last checkpoint of a search."""
    checkpoints = Checkpoints(folder / "checkpoints" / "search")
    record, data = checkpoints._read(checkpoints.latest())
    found, offset = {}, 0
    for name, kind in sorted(record["leaves"].items()):
        dtype, _, shape = kind.partition("[")
        sizes = [int(size) for size in shape.rstrip("]").split(",") if size]
        if dtype.startswith("key"):
            dtype, sizes = "uint32", [*sizes, 2]
        array = np.frombuffer(data, dtype, int(np.prod(sizes)), offset)
        found[name], offset = array.reshape(sizes), offset + array.nbytes
    assert offset == len(data) - 1
    return found


def lines(folder):
    """The lines of the log, without times."""
    text = (folder / "metrics.jsonl").read_text().splitlines()
    found = list(map(json.loads, text))
    for line in found:
        line.pop("seconds", None)
    return found


def test_each_folder_is_that_of_its_own_run(alone, together):
    folder, result = together
    for seed in SEEDS:
        own, other = folder / f"seed_{seed}", alone[seed]
        assert read(own, "config.json") == read(other, "config.json")
        assert {p.name for p in own.iterdir()} == {p.name for p in other.iterdir()}
        chex.assert_trees_all_close(state(own), state(other), **CLOSE)
        for line, expected in zip(lines(own), lines(other), strict=True):
            assert line.keys() == expected.keys() and line["step"] == expected["step"]
            numbers = {k for k, v in expected.items() if isinstance(v, float)}
            assert all(line[k] == pytest.approx(expected[k], 1e-3) for k in numbers)
        assert read(own, "genotype.json") == read(other, "genotype.json")
        assert result["seeds"][str(seed)] == read(own, "result.json")
        assert result["seeds"][str(seed)]["interrupted"] == 0
        assert read(own, "manifest.json")["command"] == (
            f"nasjax run --config=a.py --config.log_every=2 --config.seed={seed} "
            f"--workdir={own}"
        )
    first, second = (state(folder / f"seed_{seed}") for seed in SEEDS)
    assert (first["state.arch['normal']"] != second["state.arch['normal']"]).all()


def stopped(place, name, step):
    """A folder in which a signal stopped both searches at this step."""
    config, seen = configured(place, seeds=2, seeds_at_once=2), []

    def stop(phase, at, metrics):
        seen.append((at, metrics["seed"]))
        if at == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match=f"search after step {step}"):
        run(config, place / name, code=CODE, callbacks=[stop])
    assert seen[-2:] == [(step, seed) for seed in SEEDS]
    for seed in SEEDS:
        checkpoints = place / name / f"seed_{seed}" / "checkpoints" / "search"
        assert Checkpoints(checkpoints).steps() == [step - 2, step]
    return config, place / name


@pytest.mark.parametrize("torn", [False, True])
def test_a_stopped_group_resumes(place, together, torn):
    config, folder = stopped(place, f"stopped_{torn}", 6)
    if torn:  # killed between the checkpoints of two folders
        Checkpoints(folder / "seed_5" / "checkpoints" / "search").drop_after(4)
    run(config, folder, code=CODE)
    for seed in SEEDS:
        own, whole = (each / f"seed_{seed}" for each in (folder, together[0]))
        chex.assert_trees_all_equal(state(own), state(whole))
        assert lines(own) == lines(whole)
        assert read(own, "result.json")["interrupted"] == 1


def test_a_folder_resumes_alone(place, together, alone):
    config, folder = stopped(place, "one", 4)
    single = configured(place)
    single.seed = 6
    run(single, folder / "seed_6", code=CODE)
    chex.assert_trees_all_close(state(folder / "seed_6"), state(alone[6]), **CLOSE)
    assert not (folder / "seed_5" / "result.json").exists()
    before = (folder / "seed_6" / "metrics.jsonl").read_bytes()
    result = run(config, folder, code=CODE)
    assert set(result["seeds"]) == {"5", "6"}
    assert (folder / "seed_6" / "metrics.jsonl").read_bytes() == before
    chex.assert_trees_all_close(state(folder / "seed_5"), state(alone[5]), **CLOSE)


def test_on_a_cpu_seeds_run_in_turn(place, alone, capsys):
    seen = set()
    run(
        configured(place, seeds=2), place / "turn", code=CODE,
        callbacks=[lambda phase, step, metrics: seen.add(metrics["seed"])],
    )  # fmt: skip
    assert seen == set(SEEDS)
    printed = capsys.readouterr().out
    assert "seeds 5 to 6, one after the other, because one search" in printed
    assert "seed 6: search epoch 3/3" in printed
    for seed in SEEDS:
        own = place / "turn" / f"seed_{seed}"
        chex.assert_trees_all_equal(state(own), state(alone[seed]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # ml_collections
def test_the_command_compares_the_seeds(place, together, monkeypatch, capsys):
    monkeypatch.setattr("nasjax.engine.programs.code", lambda *files: CODE)
    fields = flat(configured(place, seeds=2, seeds_at_once=2).to_dict())
    usual = flat(defaults.settings().to_dict())
    folder = place / "command"
    flags = [
        f"--config.{name}={value}"
        for name, value in fields.items()
        if value != usual[name]
    ]
    given = [f"--config={ROOT}/configs/darts_first.py", f"--workdir={folder}", *flags]
    assert main.main(given) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("written: ") and str(folder / "compare.md") in last
    (found,) = read(folder, "compare.json")["sets"].values()
    assert found["seeds"] == list(SEEDS)
    for seed in SEEDS:
        own, whole = (each / f"seed_{seed}" for each in (folder, together[0]))
        chex.assert_trees_all_equal(state(own), state(whole))


def test_what_does_not_fit_runs_in_smaller_groups(place, alone, monkeypatch, capsys):
    """Only as many searches as fit in memory go together."""
    tried = []

    def search(runs, group, progress, store):
        tried.append(list(group))
        error = TooLarge("Phase search does not fit")
        error.share = 0.4
        raise error

    monkeypatch.setattr(groups, "_search", search)
    monkeypatch.setattr(seeds, "hindrance", lambda made, asks: "")
    monkeypatch.setattr(seeds, "complete", lambda *given: {"genotype": None})
    monkeypatch.setattr(seeds.report, "of_seed", lambda result, path: "done")
    run(configured(place, seeds=6), place / "large", code=CODE)
    assert tried == [[5, 6, 7, 8, 9, 10], [5, 6]]  # 2 of 6 fit; then not even 2
    assert "6 seeds in one program do not fit in memory; trying 2" in (
        capsys.readouterr().out
    )


BAD = {
    "none": ({"seeds": 0}, "config.seeds is 0; expected an integer from 1"),
    "no number": ({"seeds": 2.5}, "config.seeds is 2.5"),
    "at once": ({"seeds": 2, "seeds_at_once": -1}, "config.seeds_at_once is -1"),
    "large": ({"seeds": 2**32}, "config.seed is 5; expected an integer from 0 to 0"),
    "genotype": ({"seeds": 2, "genotype": "darts_v2"}, "--config.retrain.seeds=2"),
}


@pytest.mark.parametrize("name", BAD)
def test_errors_are_sentences(config, tmp_path, name):
    fields, sentence = BAD[name]
    with config.ignore_type():
        config.update(fields)
    with pytest.raises(UserError) as caught:
        run(config, tmp_path)
    assert sentence in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_the_folder_of_one_run_is_not_of_several(config, alone):
    config.seeds = 2
    with pytest.raises(UserError, match="holds one run, and config.seeds is 2"):
        run(config, alone[5])


def test_the_folder_of_a_command(config):
    """One seed has the folder it always had; more seeds later extend a folder."""
    name = lambda **fields: main.default_workdir("a.py", changed(config, **fields))
    plain = configured("x").to_dict()
    for field in defaults.OF_COMMANDS:
        del plain[field]
    assert name() == main.default_workdir("a.py", type(config)(plain))
    assert name(seeds=2) == name(seeds=3, seed=7, seeds_at_once=2) != name()


def changed(config, **fields):
    changed = configured("x")
    changed.update(fields)
    return changed


def test_a_sweep_has_its_own_seeds(tmp_path):
    with pytest.raises(UserError, match="seeds are given with --seeds"):
        plan(["darts_first"], [0], [], tmp_path, ["--config.seeds=2"])


def made(stages=1, remedy="none", mode="jit", devices=1, platform="gpu"):
    return SimpleNamespace(
        config=SimpleNamespace(
            collapse=SimpleNamespace(remedy=remedy), parallel=mode
        ),
        algorithm=SimpleNamespace(stages=range(stages)),
        devices=SimpleNamespace(
            mode=mode, where=[SimpleNamespace(platform=platform)] * devices
        ),
    )  # fmt: skip


WHY = {
    "stages": ({"stages": 2}, 4),
    "remedy 'stop'": ({"remedy": "stop"}, 4),
    "'pmap'": ({"mode": "pmap"}, 4),
    "2 devices": ({"devices": 2}, 4),
    "seeds_at_once is 1": ({}, 1),
    "a CPU": ({"platform": "cpu"}, 0),
}


@pytest.mark.parametrize("word", WHY)
def test_searches_that_cannot_go_together_run_in_turn(word):
    fields, asks = WHY[word]
    assert word in groups.hindrance(made(**fields), asks)


def test_searches_that_go_together():
    assert not groups.hindrance(made(), 0)
    assert not groups.hindrance(made(platform="cpu"), 2)
