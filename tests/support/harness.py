"""Searches as `phases.search_phase` runs them: their programs and their moves.

The first two of six steps are warm-up; then alpha moves every second step. All results
are cached until a test module calls `forget`.
"""

import functools
import inspect
from types import SimpleNamespace
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.data.augment import Augment
from nasjax.data.splits import Part
from nasjax.engine import optim
from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import Programs
from nasjax.experiment import phases
from nasjax.experiment.defaults import settings
from nasjax.search import PARTS, SearchState, Training, compose, parse, search
from nasjax.spaces import Macro, darts
from nasjax.tasks.classification import Final
from nasjax.tasks.images import images
from support.toy import toy

STEPS, WARMUP, BATCH, CLASSES = 6, 2, 8, 3
HYPER = Hyper(epochs=STEPS // WARMUP, rate=0.05, rate_min=0.005, weight_decay=3e-4)
SHAPE = (8, 8, 1)
MODES = {"one": (1, "jit"), "jit": (4, "jit"), "pmap": (4, "pmap")}


SMALL = {"every": 2, "samples": 4, "inner_steps": 2}
# Every part alone, and some combinations.
SENTENCES = (*PARTS, "amended+sdarts_rs", "zarts_mgs+sdarts_adv", "darts_first+sanas")


def config():
    """The shared settings at a small size."""
    config = settings()
    config.search.batch = BATCH
    for own in config.arch.values():
        own.update({k: v for k, v in SMALL.items() if k in own})
    # Those of the recorded numbers.
    config.arch.zarts_mgs.update(spread=0.025, temperature=0.01)
    config.arch.implicit.update(damping=0.1, max_steps=5)
    return config


def composed(sentence, config):
    """The algorithm that a sentence names, with the settings of a config."""
    own = {}
    for name in parse(sentence):
        shared = {group: config[group] for group in PARTS[name].shares}
        own[name] = SimpleNamespace(**config.arch[name], **shared)
    return compose(sentence, own)


def built(algorithm, space, training, model=None, shape=SHAPE, final=None, **more):
    """A search of the toy, or of `model`, on one device; the test makes the batches."""

    def task(axis):
        network = model or toy(space, CLASSES, axis, "auxiliary" in more)
        steps = training.steps_per_epoch
        return images(network, shape, Augment(), BATCH, steps, **more)

    return search(algorithm, space, task, training, Devices.of(1), final=final)


@functools.cache
def parts():
    """Two parts of 24 images of 3 classes: noise with class-dependent brightness."""
    rng = np.random.default_rng(0)

    def part():
        label = rng.permutation(np.arange(24) % CLASSES).astype(np.int32)
        noise = rng.integers(0, 130, (24, *SHAPE))
        return Part((noise + 60 * label[:, None, None, None]).astype(np.uint8), label)

    return part(), part()


def halves():
    """`parts` as a search takes them."""
    return {n: p._asdict() for n, p in zip(("weights", "arch"), parts(), strict=True)}


class Case(NamedTuple):
    """A search as a phase, and the programs that the phase runs."""

    search: Any
    phase: Any
    programs: Any  # name -> (state, data) -> (state, metrics), the state is donated
    data: Any
    devices: Any


def cached(function):
    """`functools.cache`, where a default and the same value given have one entry."""
    signature, kept = inspect.signature(function), functools.cache(function)

    @functools.wraps(function)
    def call(*arguments):
        bound = signature.bind(*arguments)
        bound.apply_defaults()
        return kept(*bound.args)

    call.cache_clear = kept.cache_clear
    return call


def beginning(sentence, devices, network=toy):
    """The `begin` of a phase: numbers, which may be traced -> the search."""
    own = config()
    space = darts(("skip_connect", "dil_conv_3x3"))
    algorithm, real = composed(sentence, own), network is not toy
    augment = Augment(pad=int(real), flip=real, mean=(0.5,), std=(0.3,))

    def task(axis):
        model = network(space, CLASSES, axis, auxiliary=True)
        return images(
            model, SHAPE, augment, BATCH, WARMUP, drop_path=0.3, auxiliary=0.4
        )

    def begin(hyper):
        def sgd(rate, clip=True):
            return optim.sgd(rate, 0.9, hyper.weight_decay, 5.0 * clip)

        rate = optim.cosine(hyper.rate, hyper.rate_min, hyper.epochs, WARMUP)
        training = Training(sgd, rate, hyper.epochs, WARMUP, 1)
        final = Final(Macro.of(space, 4, 3, "cifar"), CLASSES, (8, 8, 1))
        return search(algorithm, space, task, training, devices, final=final)

    return begin


@cached
def case(sentence, mode, network=toy, hyper=HYPER):
    devices = Devices.of(*MODES[mode])
    begin = beginning(sentence, devices, network)
    caught = []

    def catching(*arguments, **jitted):
        caught.append(Programs(*arguments, **jitted))
        return caught[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(phases, "Programs", catching)
        phase = phases.search_phase(
            "search", begin, hyper, halves(), jax.random.key(0), devices,
            None, lambda search: [],
        )  # fmt: skip
    # Steps are compiled on first use; evaluation is tested elsewhere.
    phase = phase._replace(
        init=lambda: copy(first_state(sentence, network), devices),
        compile=lambda state: None,
        evaluate=lambda state: {},
    )
    weights, arch = (devices.replicate(part) for part in halves().values())
    hyper_arrays = devices.replicate(hyper.arrays())
    data = {"weights": weights, "arch": arch, "hyper": hyper_arrays}
    return Case(begin(hyper), phase, caught[0], data, devices)


@cached
def first_state(name, network=toy):
    return jax.jit(case(name, "one", network).search.init)(jax.random.key(0))


def copy(state, devices=None):
    """A copy of a state, which may be donated."""
    state = jax.tree.map(jnp.copy, state)
    return state if devices is None else devices.replicate(state)


def host(tree):
    """The tree as NumPy arrays, keys as their data."""

    def plain(leaf):
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return np.array(jax.random.key_data(leaf) if is_key else leaf)

    return jax.tree.map(plain, tree)


def on_device(state):
    """The state on the device again, from the arrays that `host` returned."""
    key = jax.random.wrap_key_data(jnp.asarray(state.key))
    return jax.tree.map(jnp.asarray, state._replace(key=key))


class Move(NamedTuple):
    """One step: its program, the states before and after it, and its metrics."""

    kind: str
    before: SearchState
    after: SearchState
    metrics: Any


@cached
def trajectory(name, mode, network=toy):
    """All moves of a search in the order of its cadences, with states on the host."""
    this, moves = case(name, mode, network), []
    state = copy(first_state(name, network), this.devices)

    def move(kind, program):
        nonlocal state
        before, avals = host(state), jax.tree.map(jax.typeof, state)
        state, metrics = program(state, this.data)
        assert jax.tree.map(jax.typeof, state) == avals, "shapes or dtypes changed"
        moves.append(Move(kind, before, host(state), host(metrics)))

    for index in range(STEPS):
        for own in this.search.programs:
            if own.cadence.due(index):
                move(own.name, this.programs[own.name])
    return moves


def same(a, b):
    """Asserts that two trees are equal to the bit."""
    chex.assert_trees_all_equal(a, b, strict=True)


def differ(a, b):
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return any((x != y).any() for x, y in pairs)


def assert_close(one, many):
    """Asserts equal moves up to rounding.

    float32 rounds at 6e-8, sums over devices have another order, and six steps amplify
    the difference a little. A moment, loss or gradient of a shard instead of the batch
    is off by 1e-2.
    """
    assert [move.kind for move in one] == [move.kind for move in many]
    for a, b in zip(one, many, strict=True):
        found, expected = (b.after, b.metrics), (a.after, a.metrics)
        chex.assert_trees_all_equal_dtypes(found, expected)
        chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=2e-5)


def forget():
    """Clears all caches: the programs of all algorithms exhaust a process's memory maps."""
    for cached in (case, first_state, trajectory):
        cached.cache_clear()
    jax.clear_caches()
