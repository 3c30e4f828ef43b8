"""What every algorithm keeps to. One joins by its row in ALGORITHMS and its config.

Each runs on the toy network through `phases.search_phase`, whose programs are caught on
the way and shared by all tests: on one device, on 4 under "jit" and on 4 under "pmap".
The first two of six steps warm up; then alpha moves every second step. That supernets
split over devices as the toy does is in test_supernets.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.harness import (
    HYPER,
    STEPS,
    WARMUP,
    assert_close,
    case,
    config_of,
    copy,
    differ,
    first_state,
    forget,
    host,
    on_device,
    parts,
    same,
    trajectory,
)
from support.toy import toy

from nasjax.engine.loop import run_phase
from nasjax.engine.optim import Hyper
from nasjax.engine.progress import Progress
from nasjax.engine.workdir import RunFolder
from nasjax.experiment.stages import arch_settings
from nasjax.search import ALGORITHMS, SearchState
from nasjax.search.base import with_state

# Their steps of alpha train on, or differentiate, the other half of the data.
LOOK_AHEAD = (
    "amended",
    "darts_second",
    "implicit",
    "sanas",
    "zarts_gld",
    "zarts_mgs",
    "zarts_rs",
)
pytestmark = pytest.mark.parametrize("algorithm", sorted(ALGORITHMS), scope="module")


@pytest.fixture(scope="module", autouse=True)
def one_algorithm_at_a_time(algorithm):
    yield
    forget()


def test_it_has_a_config_and_names_its_estimator(algorithm):
    search = case(algorithm, "one").search
    assert search.direction.name
    assert search.cadence.warmup == WARMUP
    assert search.direction.inner_steps >= 0
    assert search.direction.cost > 0


def test_structure_shapes_and_dtypes_are_kept(algorithm):
    moves = trajectory(algorithm, "one")
    assert [move.kind for move in moves] == config_kinds(algorithm)
    for move in moves:
        assert jax.tree.structure(move.before) == jax.tree.structure(move.after)
        assert move.metrics
        assert all(value.shape == () for value in move.metrics.values())
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(move.after))
    mix = case(algorithm, "one").search.mix(moves[-1].after.arch)
    assert {kind: leaf.shape for kind, leaf in mix.items()} == {
        "normal": (14, 2),
        "reduce": (14, 2),
    }
    for leaf in mix.values():
        assert (leaf >= 0).all() and (leaf.sum(1) <= 1 + 1e-6).all()


def config_kinds(name):
    every = arch_settings(config_of(name)).every
    kinds = []
    for step in range(STEPS):
        kinds += ["arch"] * (step >= WARMUP and step % every == 0) + ["weight"]
        kinds += ["second"] * (name == "sanas" and step % 3 == 0)
    return kinds


def test_a_step_moves_no_parameter_of_the_other_level(algorithm):
    moved = set()
    for kind, before, after, _ in trajectory(algorithm, "one"):
        moves = {
            "weight": ("step", "w", "batch_stats", "weight_opt"),
            "arch": ("arch", "arch_opt"),
            "second": ("second",),
        }[kind]
        kept = set(SearchState._fields) - {*moves}
        for field in kept:
            same(getattr(before, field), getattr(after, field))
        for field in moves:
            if differ(getattr(before, field), getattr(after, field)):
                moved.add((kind, field))
        if kind == "weight":
            assert after.step == before.step + 1
    assert {("weight", "w"), ("weight", "batch_stats"), ("arch", "arch")} <= moved
    assert (("second", "second") in moved) == (algorithm == "sanas")


def test_warm_up_leaves_alpha_alone(algorithm):
    this, first = case(algorithm, "one"), host(first_state(algorithm))
    state = this.phase.init()
    for index in range(WARMUP):
        state, _ = this.phase.step(state, index)
        same(host(state.arch), first.arch)
        same(host(state.arch_opt), first.arch_opt)
    assert differ(host(state.w), first.w)
    # The step after it is due, whatever the cadence does later.
    assert this.search.cadence.due(WARMUP)


@pytest.mark.parametrize("kind", ["weight", "arch", "second"])
def test_the_same_inputs_give_the_same_bits(algorithm, kind):
    this = case(algorithm, "one")
    moves = [m for m in trajectory(algorithm, "one") if m.kind == kind]
    if not moves:
        pytest.skip("trains one network")
    move = moves[-1]
    state = on_device(move.before)
    for _ in range(2):
        after, metrics = this.programs[kind](copy(state, this.where), this.data)
        same(host(after), move.after)
        same(host(metrics), move.metrics)
    same(host(state), move.before)
    for name, part in zip(("weights", "arch"), parts(), strict=True):
        same(host(this.data[name]), {"image": part.image, "label": part.label})


@pytest.mark.parametrize("half", ["weights", "arch"])
def test_a_step_sees_its_own_half_of_the_data(algorithm, half):
    """Weights never see alpha's half; alpha sees the other one where it looks ahead."""
    this = case(algorithm, "one")
    other = jax.tree.map(lambda leaf: leaf[::-1], this.data[half])
    changed = {**this.data, half: {**other, "label": 2 - other["label"]}}
    for kind in ("weight", "arch"):
        move = [m for m in trajectory(algorithm, "one") if m.kind == kind][-1]
        state = copy(on_device(move.before), this.where)
        after, metrics = this.programs[kind](state, changed)
        seen = differ((host(after), host(metrics)), (move.after, move.metrics))
        if kind == "weight":
            assert seen == (half == "weights")
        else:
            assert seen == (half == "arch" or algorithm in LOOK_AHEAD)


def test_regularisation_grows_by_epoch(algorithm):
    this = case(algorithm, "one")
    grown = []
    for index in range(STEPS):
        state = first_state(algorithm)._replace(step=jnp.int32(index))
        grown.append(with_state(this.problem, {}, state, None)["drop_path"])
    np.testing.assert_allclose(grown, [0, 0, 0.1, 0.1, 0.2, 0.2], rtol=1e-6)


def skip_what_the_compiler_splits(algorithm, mode):
    """Under jit an algorithm does nothing of its own, but to split its candidates."""
    if mode == "jit" and algorithm not in (
        "darts_second",
        "random_search",
        "zarts_mgs",
    ):
        pytest.skip("one of each kind is enough")


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_four_devices_equal_one(algorithm, mode):
    skip_what_the_compiler_splits(algorithm, mode)
    assert_close(trajectory(algorithm, "one"), trajectory(algorithm, mode))


def test_other_numbers_compile_nothing(algorithm):
    """Epochs, learning rates and weight decay are arguments of all steps' programs."""
    programs, state = [], first_state(algorithm)
    for hyper in (HYPER, Hyper(epochs=9, rate=0.3, rate_min=0.1, weight_decay=0.01)):
        this = case(algorithm, "one", toy, hyper)
        steps = set(this.programs._jitted) - {"init", "evaluate", "instruments"}
        programs.append(
            {
                kind: this.programs[kind].lower(state, this.data).as_text()
                for kind in sorted(steps)
            }
        )
    assert programs[0] == programs[1]
    assert set(programs[0]) == {move.kind for move in trajectory(algorithm, "one")}


class Crash(Exception):
    pass


@pytest.mark.parametrize(
    ("mode", "at"), [("one", 1), ("one", 3), ("one", 5), ("jit", 3), ("pmap", 5)]
)
def test_a_resumed_run_equals_an_uninterrupted_one(algorithm, mode, at, tmp_path):
    """A crash before any checkpoint, after the one of step 2 and after that of 4."""
    skip_what_the_compiler_splits(algorithm, mode)
    phase = case(algorithm, mode).phase
    crashed = []

    def crash(state, index):
        if index == at and not crashed:
            crashed.append(index)
            raise Crash
        return phase.step(state, index)

    def run():
        with RunFolder.open(tmp_path, {}, {}) as folder:
            crashing = phase._replace(step=crash)
            return run_phase(crashing, folder, Progress(quiet=True), 2, 1)

    with pytest.raises(Crash):
        run()
    same(host(run().state), trajectory(algorithm, mode)[-1].after)


def test_what_is_not_interrupted_equals_it_too(algorithm, tmp_path):
    with RunFolder.open(tmp_path, {}, {}) as folder:
        phase = case(algorithm, "one").phase
        outcome = run_phase(phase, folder, Progress(quiet=True), 100, 100)
    same(host(outcome.state), trajectory(algorithm, "one")[-1].after)
