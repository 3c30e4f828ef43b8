"""What every algorithm keeps to. One joins by its row in ALGORITHMS and its config.

Each runs on a tiny problem through `phases.search_phase`, whose two compiled programs
are caught on the way and shared by all tests: on one device, on 4 under "jit" and on 4
under "pmap". The first two of six steps warm up; then alpha moves every second step.
"""

import functools
import runpy
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import TwoCells

from nasjax import nets, optim, parallel, phases
from nasjax.data.augment import Augment
from nasjax.data.splits import Part
from nasjax.defaults import settings
from nasjax.folder import RunFolder
from nasjax.loop import run_phase
from nasjax.progress import Progress
from nasjax.saliency import Attack
from nasjax.search import ALGORITHMS, Problem, SearchState
from nasjax.spaces import darts
from nasjax.stages import arch_settings

# All tests share programs by algorithm: under xdist give `--dist loadfile`.
FAST = ("darts_second", "random_search", "zarts_mgs")  # of every kind one
pytestmark = pytest.mark.parametrize(
    "algorithm",
    [
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name in sorted(ALGORITHMS)
    ],
    scope="module",
)

STEPS, WARMUP, BATCH, CLASSES = 6, 2, 8, 3
CONFIGS = Path(__file__).parents[2] / "configs"
MODES = {"one": (1, "jit"), "jit": (4, "jit"), "pmap": (4, "pmap")}


@functools.cache
def config_of(name):
    """The config that asks for algorithm `name`, made small."""
    file = {"sanas": "sanas_darts2"}.get(name, name)
    config = runpy.run_path(str(CONFIGS / f"{file}.py"))["get_config"]()
    assert config.algorithm == name
    if name == "sanas":  # test_sanas has its four levels on several devices
        config.base = "darts_first"
    small = {"every": 2, "samples": 4, "inner_steps": 2}
    arch = arch_settings(config)
    arch.update({k: v for k, v in small.items() if k in arch})
    return config


@functools.cache
def parts():
    """24 images of 3 classes, noise with a class-dependent brightness, twice."""
    rng = np.random.default_rng(0)

    def part():
        label = rng.permutation(np.arange(24) % CLASSES).astype(np.int32)
        noise = rng.integers(0, 130, (24, 8, 8, 1))
        return Part((noise + 60 * label[:, None, None, None]).astype(np.uint8), label)

    return part(), part()


class Case(NamedTuple):
    """A search on its problem, as a phase, and the programs that the phase runs."""

    search: Any
    phase: Any
    weight: Any  # (state, data) -> (state, metrics), the state is donated
    arch: Any
    further: Any  # name -> likewise
    data: Any
    where: Any


@functools.cache
def case(name, mode):
    count, way = MODES[mode]
    where, axis = parallel.devices(count), parallel.axis_name(way)
    space = darts(("skip_connect", "dil_conv_3x3"))
    supernet = functools.partial(nets.supernet, space, TwoCells(2, 2), CLASSES, "shift")
    problem = Problem(
        space=space,
        model=supernet(axis),
        image_shape=(8, 8, 1),
        sgd=lambda rate, clip=True: optim.sgd(rate, 0.9, 3e-4, 5.0 * clip),
        rate=optim.cosine(0.05, 0.005, STEPS // WARMUP, WARMUP),
        steps_per_epoch=WARMUP,
        epochs=STEPS // WARMUP,
        warmup_epochs=1,
        axis=axis,
        candidates=parallel.over_candidates(where, way),
        base=config_of(name).base,
        attack=Attack(mean=(0.5,), std=(0.3,)),
        saliency=config_of(name).saliency,
    )
    if axis:
        whole = problem._replace(model=supernet(None), axis=None)
        problem = problem._replace(whole=whole)
    search = ALGORITHMS[name](problem, config_of(name).arch)
    weights, arch = parts()
    config = settings()
    config.search.batch, config.parallel = BATCH, way
    caught, original = {}, parallel.data_parallel

    def catching(step, *rest):
        caught[step] = program = original(step, *rest)
        return program

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phases.parallel, "data_parallel", catching)
        phase = phases.search_phase(
            "search", search, problem, weights, arch, Augment(1, True, 0, (0.5,), (0.3,)),
            config, jax.random.key(0), where, folder=None,
        )  # fmt: skip
    # Steps are compiled when they are first used; evaluation is tested elsewhere.
    phase = phase._replace(
        init=lambda: copy(first_state(name)),
        compile=lambda state: None,
        evaluate=lambda state: {},
    )
    data = {
        "weights": phases.on_devices(weights, where),
        "arch": phases.on_devices(arch, where),
    }
    further = {each.name: caught[each.step] for each in search.further}
    programs = caught[search.weight_step], caught[search.arch_step], further
    return Case(search, phase, *programs, data, where)


@functools.cache
def first_state(name):
    return jax.jit(case(name, "one").search.init)(jax.random.key(0))


def copy(state, where=None):
    """A copy that may be donated."""
    state = jax.tree.map(jnp.copy, state)
    return state if where is None else parallel.replicate(state, where)


def host(tree):
    """Plain arrays, keys as their data."""

    def plain(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.array(jax.random.key_data(leaf) if is_key else leaf)

    return jax.tree.map(plain, tree)


class Move(NamedTuple):
    """One step: which, the states around it, and its metrics."""

    kind: str
    before: SearchState
    after: SearchState
    metrics: Any


@functools.cache
def trajectory(name, mode):
    """All moves of a search, states on the host, when the cadence asks for them."""
    this, moves = case(name, mode), []
    state = copy(first_state(name), this.where)

    def move(kind, program):
        nonlocal state
        before, avals = host(state), jax.tree.map(jax.typeof, state)
        state, metrics = program(state, this.data)
        assert jax.tree.map(jax.typeof, state) == avals, "shapes or dtypes changed"
        moves.append(Move(kind, before, host(state), host(metrics)))

    for index in range(STEPS):
        if this.search.cadence.due(index):
            move("arch", this.arch)
        move("weight", this.weight)
        for each in this.search.further:
            if each.cadence.due(index):
                move(each.name, this.further[each.name])
    return moves


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def differ(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any((x != y).any() for x, y in pairs)


@pytest.fixture(scope="module", autouse=True)
def one_algorithm_at_a_time(algorithm):
    """A process that keeps the programs of all algorithms runs out of memory maps."""
    yield
    for cached in (case, first_state, trajectory):
        cached.cache_clear()
    jax.clear_caches()


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
    programs = {"weight": this.weight, "arch": this.arch, **this.further}
    key = jax.random.wrap_key_data(jnp.asarray(move.before.key))
    state = jax.tree.map(jnp.asarray, move.before._replace(key=key))
    for _ in range(2):
        after, metrics = programs[kind](copy(state, this.where), this.data)
        same(host(after), move.after)
        same(host(metrics), move.metrics)
    same(host(state), move.before)
    for name, part in zip(("weights", "arch"), parts(), strict=True):
        same(host(this.data[name]), {"image": part.image, "label": part.label})


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_four_devices_equal_one(algorithm, mode):
    """float32 rounds at 6e-8, sums are split otherwise, six steps amplify it a little;
    a moment, loss or gradient of a shard in place of the batch's is off by 1e-2."""
    one, many = trajectory(algorithm, "one"), trajectory(algorithm, mode)
    assert [move.kind for move in one] == [move.kind for move in many]
    for a, b in zip(one, many, strict=True):
        for x, y in zip(
            jax.tree.leaves((a.after, a.metrics)),
            jax.tree.leaves((b.after, b.metrics)),
            strict=True,
        ):
            assert x.dtype == y.dtype
            np.testing.assert_allclose(y, x, rtol=1e-4, atol=2e-5)


class Crash(Exception):
    pass


@pytest.mark.parametrize("mode", list(MODES))
@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_resumed_run_equals_an_uninterrupted_one(algorithm, mode, at, tmp_path):
    """A crash before any checkpoint, after the one of step 2 and after that of 4."""
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
