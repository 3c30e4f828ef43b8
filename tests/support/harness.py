"""A search as `phases.search_phase` runs it: its programs caught, and its moves.

The first two of six steps warm up; then alpha moves every second step. Everything is
kept for as long as a test module needs it; `forget` lets go.
"""

import functools
import inspect
import runpy
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.data.augment import Augment
from nasjax.data.splits import Part
from nasjax.engine import optim, parallel
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import Programs
from nasjax.experiment import phases
from nasjax.experiment.defaults import settings
from nasjax.experiment.stages import arch_settings
from nasjax.saliency import Attack
from nasjax.search import ALGORITHMS, Problem, SearchState
from nasjax.spaces import darts
from support.toy import toy

STEPS, WARMUP, BATCH, CLASSES = 6, 2, 8, 3
HYPER = Hyper(epochs=STEPS // WARMUP, rate=0.05, rate_min=0.005, weight_decay=3e-4)
SHAPE = (8, 8, 1)
CONFIGS = Path(__file__).parents[2] / "configs"
MODES = {"one": (1, "jit"), "jit": (4, "jit"), "pmap": (4, "pmap")}


@functools.cache
def config_of(name):
    """The config that asks for algorithm `name`, made small."""
    file = {"sanas": "sanas_darts2"}.get(name, name)
    config = runpy.run_path(str(CONFIGS / f"{file}.py"))["get_config"]()
    assert config.algorithm == name
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
        noise = rng.integers(0, 130, (24, *SHAPE))
        return Part((noise + 60 * label[:, None, None, None]).astype(np.uint8), label)

    return part(), part()


class Case(NamedTuple):
    """A search on its problem, as a phase, and the programs that the phase runs."""

    problem: Any
    search: Any
    phase: Any
    programs: Any  # name -> (state, data) -> (state, metrics), the state is donated
    data: Any
    where: Any


def cached(function):
    """`functools.cache` that knows a default from the same value given."""
    signature, kept = inspect.signature(function), functools.cache(function)

    @functools.wraps(function)
    def call(*arguments):
        bound = signature.bind(*arguments)
        bound.apply_defaults()
        return kept(*bound.args)

    call.cache_clear = kept.cache_clear
    return call


@cached
def case(name, mode, network=toy, hyper=HYPER):
    count, way = MODES[mode]
    where, axis = parallel.devices(count), parallel.axis_name(way)
    space = darts(("skip_connect", "dil_conv_3x3"))

    def build(hyper):
        problem = Problem(
            space=space,
            model=network(space, CLASSES, axis, auxiliary=True),
            image_shape=SHAPE,
            sgd=lambda rate, clip=True: optim.sgd(
                rate, 0.9, hyper.weight_decay, 5.0 * clip
            ),
            rate=optim.cosine(hyper.rate, hyper.rate_min, hyper.epochs, WARMUP),
            steps_per_epoch=WARMUP,
            epochs=hyper.epochs,
            warmup_epochs=1,
            axis=axis,
            drop_path=0.3,
            auxiliary=0.4,
            candidates=parallel.over_candidates(where, way),
            base=config_of(name).base,
            attack=Attack(mean=(0.5,), std=(0.3,)),
            saliency=config_of(name).saliency,
        )
        if axis:
            model = network(space, CLASSES, None, auxiliary=True)
            whole = problem._replace(model=model, axis=None)
            problem = problem._replace(whole=whole)
        return problem, ALGORITHMS[name](problem, config_of(name).arch)

    weights, arch = parts()
    real = network is not toy
    augment = Augment(pad=int(real), flip=real, mean=(0.5,), std=(0.3,))
    config = settings()
    config.search.batch, config.parallel = BATCH, way
    caught = []

    def catching(*arguments, **jitted):
        caught.append(Programs(*arguments, **jitted))
        return caught[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phases, "Programs", catching)
        phase = phases.search_phase(
            "search", build, hyper, weights, arch, augment, config,
            jax.random.key(0), where, folder=None,
        )  # fmt: skip
    # Steps are compiled when they are first used; evaluation is tested elsewhere.
    phase = phase._replace(
        init=lambda: copy(first_state(name, network), where),
        compile=lambda state: None,
        evaluate=lambda state: {},
    )
    data = {
        "weights": phases.on_devices(weights, where),
        "arch": phases.on_devices(arch, where),
        "hyper": parallel.replicate(hyper.arrays(), where),
    }
    return Case(*build(hyper), phase, caught[0], data, where)


@cached
def first_state(name, network=toy):
    return jax.jit(case(name, "one", network).search.init)(jax.random.key(0))


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


def on_device(state):
    """What `host` made of a state, back on the device."""
    key = jax.random.wrap_key_data(jnp.asarray(state.key))
    return jax.tree.map(jnp.asarray, state._replace(key=key))


class Move(NamedTuple):
    """One step: which, the states around it, and its metrics."""

    kind: str
    before: SearchState
    after: SearchState
    metrics: Any


@cached
def trajectory(name, mode, network=toy):
    """All moves of a search, states on the host, when the cadence asks for them."""
    this, moves = case(name, mode, network), []
    state = copy(first_state(name, network), this.where)

    def move(kind, program):
        nonlocal state
        before, avals = host(state), jax.tree.map(jax.typeof, state)
        state, metrics = program(state, this.data)
        assert jax.tree.map(jax.typeof, state) == avals, "shapes or dtypes changed"
        moves.append(Move(kind, before, host(state), host(metrics)))

    for index in range(STEPS):
        if this.search.cadence.due(index):
            move("arch", this.programs["arch"])
        move("weight", this.programs["weight"])
        for each in this.search.further:
            if each.cadence.due(index):
                move(each.name, this.programs[each.name])
    return moves


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


def differ(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any((x != y).any() for x, y in pairs)


def assert_close(one, many):
    """float32 rounds at 6e-8, sums are split otherwise, six steps amplify it a little;
    a moment, loss or gradient of a shard in place of the batch's is off by 1e-2."""
    assert [move.kind for move in one] == [move.kind for move in many]
    for a, b in zip(one, many, strict=True):
        for x, y in zip(
            jax.tree.leaves((a.after, a.metrics)),
            jax.tree.leaves((b.after, b.metrics)),
            strict=True,
        ):
            assert x.dtype == y.dtype
            np.testing.assert_allclose(y, x, rtol=1e-4, atol=2e-5)


def forget():
    """A process that keeps the programs of all algorithms runs out of memory maps."""
    for cached in (case, first_state, trajectory):
        cached.cache_clear()
    jax.clear_caches()
