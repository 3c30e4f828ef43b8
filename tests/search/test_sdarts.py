"""SmoothDARTS added to any search: only the weight step uses the perturbation.

These tests use the toy network; tests/spaces/test_nasbench_space.py runs these searches
on a supernet.
"""

import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import harness

from nasjax.engine import optim
from nasjax.search import Training, compose
from nasjax.spaces import darts
from nasjax.tasks.base import At

pytestmark = pytest.mark.slow

SPACE = darts(("skip_connect", "nor_conv_1x1"))
ADAM = {"every": 1, "rate": 0.1, "b1": 0.5, "b2": 0.999, "weight_decay": 1e-3}
ZARTS = {
    "every": 1, "samples": 2, "inner_steps": 1, "inner_rate": 0.0, "chunk": 0,
    "inner_part": "weights", "split": "candidates", "spread": 0.1, "temperature": 1.0,
    "mixture": 0.0, "proposal": "mixture", "weights": "likelihood",
}  # fmt: skip
SETTINGS = {
    "darts_first": ADAM,
    "darts_second": ADAM | {"finite_difference": False},
    "amended": ADAM | {"finite_difference": False, "eta": 0.1, "two_batches": False},
    "zarts_mgs": ZARTS,
}
OWN = {
    "sdarts_rs": {"noise": "uniform"},
    "sdarts_adv": {"attack_steps": 3, "norm": "linf", "steepest": True},
}


TRAINING = Training(
    optimizer=lambda rate, clip=True: optim.sgd(rate, 0.9, 3e-4, 5.0 * clip),
    rate=optim.cosine(0.1, 0.01, 4, 2),
    epochs=4,
    steps_per_epoch=2,
    warmup_epochs=0,
)


class Programs:
    """The compiled programs of a search."""

    def __init__(self, sentence, **eps):
        settings = SETTINGS | {name: own | eps for name, own in OWN.items()}
        own = {name: SimpleNamespace(**fields) for name, fields in settings.items()}
        self.search = harness.built(compose(sentence, own), SPACE, TRAINING)
        self.init = jax.jit(self.search.init)
        self.weight_step = jax.jit(self.search.program("weights").step)
        self.arch_step = jax.jit(self.search.program("alpha").step)


@functools.cache
def plain(base):
    return Programs(base)


@functools.cache
def first_state(base):
    return plain(base).init(jax.random.key(0))


def smoothed(name, base, start, end):
    return Programs(f"{base}+{name}", eps_start=start, eps_end=end)


@functools.cache
def batch(size=6):
    draws = np.random.default_rng(0)
    return {
        "image": jnp.asarray(draws.normal(size=(size, 8, 8, 1)), jnp.float32),
        "label": jnp.asarray(draws.integers(0, 3, size)),
        "key": jax.random.split(jax.random.key(1), size),
    }


def same(a, b, exactly=True):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = map(jax.random.key_data, (x, y))
        np.testing.assert_allclose(x, y, rtol=0 if exactly else 1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "base"), [("sdarts_rs", "darts_first"), ("sdarts_adv", "zarts_mgs")]
)
def test_without_a_perturbation_it_is_the_base(name, base):
    search, state = smoothed(name, base, 0.0, 0.0), first_state(base)
    same(search.init(jax.random.key(0)), state)
    one, _ = plain(base).weight_step(state, batch())
    other, _ = search.weight_step(state, batch())
    same(one, other, exactly=False)


@pytest.mark.parametrize("base", SETTINGS)
def test_alpha_moves_as_in_the_base_whatever_eps_is(base):
    """Algorithm 1: the step of alpha has no perturbation."""
    search, state = smoothed("sdarts_adv", base, 0.3, 0.3), first_state(base)
    name = plain(base).search.name
    assert search.search.name == f"{name}_pgd"
    many = jax.tree.map(lambda leaf: leaf[None], batch())
    one, _ = plain(base).arch_step(state, many, batch())
    other, _ = search.arch_step(state, many, batch())
    same(one, other)


def test_the_weights_descend_the_loss_at_the_perturbed_point():
    """The step reports the training loss at mixing weights eps from uniform; an attack
    gives a larger loss than a random draw of the same size."""
    smooth = {name: smoothed(name, "darts_first", 0.2, 0.2) for name in OWN}
    state = first_state("darts_first")
    at = batch() | {"batch_stats": state.batch_stats, "at": At(jax.random.key(0))}
    search = plain("darts_first").search
    clean = float(jax.jit(search.problem.train)(state.w, state.arch, at))
    seen = {}
    for name, programs in smooth.items():
        after, metrics = programs.weight_step(state, batch())
        seen[name] = float(metrics["loss"])
        same(after.arch, state.arch)
    assert abs(seen["sdarts_rs"] - clean) > 1e-5
    assert seen["sdarts_adv"] > max(seen["sdarts_rs"], clean) + 1e-3
    still = jax.jit(search.problem.eval_loss)
    value = float(still(state.w, search.mix(state), at))
    assert np.isfinite(value) and value != clean, "evaluation mode, running moments"


def test_eps_follows_the_epoch():
    """Eps is 0 in the first epoch, where the step equals the base's, and grows to 0.3."""
    search = smoothed("sdarts_rs", "darts_first", 0.0, 0.4)
    steps = plain("darts_first").weight_step, search.weight_step
    for at, differs in ((0, False), (1, False), (2, True)):
        now = first_state("darts_first")._replace(step=jnp.int32(at))
        one, other = (step(now, batch())[1]["loss"] for step in steps)
        assert (abs(float(one - other)) > 1e-6) == differs
