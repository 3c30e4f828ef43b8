"""One device, a mesh under jit, and pmap: the same numbers, in float64."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.core.errors import UserError
from nasjax.core.keys import derive, per_example
from nasjax.engine import devices
from nasjax.engine.devices import Devices

pytestmark = pytest.mark.usefixtures("float64")


class State(NamedTuple):
    key: jax.Array
    step: jax.Array
    w: dict
    arch: jax.Array


def start():
    w = {"p": jnp.array([0.5, -1.0, 2.0]), "bias": jnp.array(0.1)}
    arch = jnp.array([0.3, -0.2, 0.7])
    return State(jax.random.key(0), jnp.zeros((), jnp.int32), w, arch)


def loss(w, arch, batch):
    """Nonlinear in all arguments, with a random number from the key of each example."""
    noise = jax.vmap(lambda key: jax.random.normal(key, ()))(batch["key"])
    out = jnp.tanh(batch["x"] * arch[None]) @ w["p"] + w["bias"] + 0.1 * noise
    return jnp.mean(jnp.square(out - jnp.sin(out)))


def step(state, train_batches, val_batch, *, on):
    """An unrolled hypergradient: two inner steps, then the validation loss."""
    averaged = on.averaged(loss)

    def outer(arch):
        def inner(w, batch):
            grads = jax.grad(averaged)(w, arch, batch)
            return jax.tree.map(lambda p, g: p - 0.5 * g, w, grads), None

        w, _ = jax.lax.scan(inner, state.w, train_batches)
        return averaged(w, arch, val_batch), w

    (value, w), grad = jax.value_and_grad(outer, has_aux=True)(state.arch)
    state = state._replace(step=state.step + 1, w=w, arch=state.arch - grad)
    return state, {"loss": value}


def batches(data, state):
    def one(key):
        index = jax.random.randint(key, (8,), 0, 16)
        return {"x": data[index], "key": per_example(key, 8)}

    keys = jax.random.split(derive(state.key, "train", state.step), 2)
    return jax.vmap(one)(keys), one(derive(state.key, "val", state.step))


@functools.cache
def program(count, mode, one_step):
    on = Devices.of(count, mode)
    return on.step(functools.partial(one_step, on=on), batches, (1, 0))


def after(count, mode, steps=3, one_step=step):
    run = program(count, mode, one_step)
    x = np.random.default_rng(0).normal(size=(16, 3))
    state, data = Devices.of(count, mode).replicate((start(), x))
    for _ in range(steps):
        state, metrics = run(state, data)
    return state, metrics


@functools.cache
def on_one_device(steps=3):
    return after(1, "jit", steps)


@pytest.mark.parametrize(("count", "mode"), [(4, "jit"), (2, "pmap")])
def test_many_devices_equal_one_through_second_order_terms(count, mode):
    """They differ by rounding only: sums of 8 terms in another order."""
    one, metrics = on_one_device()
    many, seen = after(count, mode)
    assert int(many.step) == 3
    assert many.key.dtype == one.key.dtype
    np.testing.assert_array_equal(
        jax.random.key_data(many.key), jax.random.key_data(one.key)
    )
    for a, b in zip(
        jax.tree.leaves((one.w, one.arch, metrics)),
        jax.tree.leaves((many.w, many.arch, seen)),
        strict=True,
    ):
        assert b.shape == a.shape and b.dtype == a.dtype
        assert b.is_fully_replicated
        np.testing.assert_allclose(b, a, rtol=1e-11)
    assert np.abs(np.asarray(one.arch) - np.asarray(start().arch)).max() > 0.01, (
        "nothing happened"
    )


def test_averaging_afterwards_would_be_wrong():
    """The test above would fail with a loss per device and averaged results."""

    def per_device(state, train_batches, val_batch, *, on):
        alone = on.splitting("candidates")
        new, metrics = step(state, train_batches, val_batch, on=alone)
        w, arch = on.mean((new.w, new.arch))
        return new._replace(w=w, arch=arch), on.mean(metrics)

    one, _ = on_one_device(1)
    many, _ = after(4, "pmap", steps=1, one_step=per_device)
    assert np.abs(np.asarray(many.arch) - np.asarray(one.arch)).max() > 1e-3


@functools.cache
def evaluated(count, mode, size, chunk):
    """Values of `size` candidates: the loss after two steps, as in ZARTS."""
    on, rows = Devices.of(count, mode).splitting("candidates"), []

    def evaluate(arch, shared):
        state, train_batches, val_batch = shared
        jax.debug.callback(lambda a: rows.append(a.shape), arch)

        def inner(w, batch):
            grads = jax.grad(loss)(w, arch, batch)
            return jax.tree.map(lambda p, g: p - 0.5 * g, w, grads), None

        w, _ = jax.lax.scan(inner, state.w, train_batches)
        return loss(w, arch, val_batch)

    def look(state, *batches):
        candidates = state.arch[None] * jnp.arange(1.0, size + 1)[:, None]
        return state, on.candidates(evaluate, candidates, (state, *batches), chunk)

    run = on.step(look, batches, (None, None))
    x = np.random.default_rng(0).normal(size=(16, 3))
    _, values = run(*on.replicate((start(), x)))
    jax.block_until_ready(values)
    jax.effects_barrier()
    return np.asarray(values), len(rows)


@pytest.mark.parametrize(
    ("count", "mode", "size", "chunk"),
    [
        (2, "jit", 3, 0),
        (2, "jit", 8, 2),
        (4, "jit", 3, 2),
        (4, "jit", 8, 0),
        (4, "pmap", 3, 0),
        (4, "pmap", 8, 2),
    ],
)
def test_candidates_over_devices_equal_all_on_one(count, mode, size, chunk):
    """Nothing is summed over devices, so float64 agrees to 1e-12."""
    one, _ = evaluated(1, "jit", size, 0)
    many, done = evaluated(count, mode, size, chunk)
    assert many.shape == (size,) and len(set(one.tolist())) == size
    np.testing.assert_allclose(many, one, rtol=1e-12)
    assert done == count * -(-size // count), "each device takes its share"


def test_the_batch_is_really_split():
    def look(state, train_batches, val_batch, *, on):
        del train_batches
        rows = val_batch["x"].shape[0]
        whole, norm = on.global_size(rows), on.norm(val_batch["x"])
        return state, {"rows": jnp.asarray(rows), "whole": whole, "norm": norm}

    _, metrics = after(4, "pmap", 1, look)
    assert int(metrics["rows"]) == 2, "8 examples over 4 devices"
    _, alone = after(1, "jit", 1, look)
    assert int(metrics["whole"]) == int(alone["whole"]) == int(alone["rows"]) == 8
    np.testing.assert_allclose(metrics["norm"], alone["norm"], rtol=1e-12)


def test_integers_and_keys_are_not_averaged():
    def look(state, train_batches, val_batch, *, on):
        del train_batches, val_batch
        held = {"key": jax.random.key(3), "seed": jnp.uint32(2**32 - 1), "real": 1.5}
        kept = on.mean(held)
        bits = jax.random.key_data(kept["key"])[1]
        return state, {"bits": bits, "seed": kept["seed"], "real": kept["real"]}

    _, metrics = after(4, "pmap", 1, look)
    assert (int(metrics["bits"]), int(metrics["seed"])) == (3, 2**32 - 1)
    assert float(metrics["real"]) == 1.5


@pytest.mark.parametrize(("mode", "split"), [("jit", "batch"), ("pmap", "candidates")])
def test_without_an_axis_a_loss_stays_as_it_is(mode, split):
    on = Devices.of(2, mode).splitting(split)
    assert on.axis is None and on.averaged(loss) is loss and on.shared(loss) is loss
    assert on.mean(loss) is loss and on.global_size(3) == 3


def test_replicate_puts_a_copy_on_every_device():
    on = Devices.of()
    given = {"a": np.arange(3), "key": jax.random.key(1)}
    for leaf, shape in zip(
        jax.tree.leaves(on.replicate(given)),
        jax.tree.leaves(on.abstract(given)),
        strict=True,
    ):
        assert leaf.devices() == set(on.where) and len(on.where) == 4
        assert leaf.is_fully_replicated
        assert (leaf.shape, leaf.dtype) == (shape.shape, shape.dtype)
        assert leaf.sharding == shape.sharding


def test_devices_are_counted_from_the_first():
    assert Devices.of(0) == Devices.of(4) == Devices(tuple(jax.devices()))
    assert Devices.of(2).where == tuple(jax.devices()[:2])


@pytest.mark.parametrize("count", [5, -1])
def test_devices_that_are_not_there_are_refused(count):
    with pytest.raises(UserError, match=r"at most 4.*--config|--config.*at most 4"):
        Devices.of(count)


def test_a_batch_must_divide_evenly():
    Devices.of(4).check_batch(8)
    with pytest.raises(UserError, match="batch of 10 cannot be split over 4"):
        Devices.of(4).check_batch(10)


def test_unknown_modes_are_refused_with_the_known_ones():
    assert Devices.of(2, "jit").axis is None
    assert Devices.of(2, "pmap").axis == devices.AXIS
    with pytest.raises(UserError, match="pmap"):
        Devices.of(1, "pmpa")
