"""Keys depend on purpose and step, not on the split of examples over devices."""

import itertools

import jax
import numpy as np

from nasjax.core.keys import derive, per_example


def bits(key):
    return tuple(np.asarray(jax.random.key_data(key)).ravel().tolist())


def test_every_purpose_and_step_has_its_own_key():
    key = jax.random.key(0)
    names, steps = ("order", "batch", "arch"), (0, 1, 2)
    keys = [derive(key, *pair) for pair in itertools.product(names, steps)]
    keys += [derive(key, name) for name in names]
    keys += [derive(key, "order", 1, 2), derive(key, "order", 2, 1), key]
    assert len({bits(k) for k in keys}) == len(keys)


def test_a_traced_step_gives_the_same_key():
    key = jax.random.key(3)
    traced = jax.jit(lambda step: derive(key, "batch", step))(7)
    assert bits(traced) == bits(derive(key, "batch", 7))


def test_an_example_draws_the_same_in_any_batch():
    key = jax.random.key(1)
    keys = per_example(key, 8)
    assert keys.shape == (8,)
    assert len({bits(k) for k in keys}) == 8
    assert bits(keys[:4]) == bits(per_example(key, 4))
