"""The searches of several seeds in one program do what each does alone."""

import chex
import jax
import numpy as np
import pytest
from support import harness
from support.harness import HYPER, STEPS, beginning, halves, host

from nasjax.engine.devices import Devices
from nasjax.experiment.phases import Searching
from nasjax.experiment.several import search_of_seeds

SEEDS = (3, 7)
ONE = Devices.of(1)
NOTHING = lambda search: []


@pytest.fixture(autouse=True, scope="module")
def forget():
    yield
    harness.forget()


def key(seed):
    return jax.random.key(seed)


def ran(phase, steps=STEPS):
    """The state after all steps, and the metrics of each."""
    state, found = phase.place(phase.init()), []
    for index in range(steps):
        state, metrics = phase.step(state, index)
        found.append(jax.device_get(metrics))
    return state, found


@pytest.mark.parametrize("sentence", ["darts_first", "zarts_mgs", "darts_second+sanas"])
def test_each_seed_is_the_seed_alone(sentence):
    begin = beginning(sentence, ONE)
    keys = {seed: key(seed) for seed in SEEDS}
    together = search_of_seeds(
        "search", begin, HYPER, halves(), keys, ONE, [None] * len(SEEDS), NOTHING
    )
    state, metrics = ran(together)
    states = together.several.split(state)
    alone = Searching("search", begin, HYPER, halves(), ONE, NOTHING)
    for index, seed in enumerate(SEEDS):
        alone.seen.clear()
        expected, values = ran(alone.phase(key(seed), None))
        chex.assert_trees_all_equal_dtypes(host(states[index]), host(expected))
        close = {"rtol": 1e-4, "atol": 2e-5}  # rounding, as in `harness.assert_close`
        chex.assert_trees_all_close(host(states[index]), host(expected), **close)
        for own, one in zip(metrics, values, strict=True):
            found = {name: value[index] for name, value in own.items()}
            chex.assert_trees_all_close(found, one, **close)
    assert np.ptp(np.stack([own.arch["normal"] for own in states]), axis=0).min() > 0
