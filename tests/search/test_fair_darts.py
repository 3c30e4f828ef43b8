"""FairDARTS: independent operators and the zero-one loss, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.harness import case, forget

from configs.fair_darts import get_config
from nasjax.search.algorithms import default_settings
from nasjax.search.algorithms.fair_darts import build, independent
from nasjax.search.base import Algorithm
from nasjax.search.perturb import project_box
from nasjax.spaces import SPACES
from nasjax.tasks.base import At

SPACE = SPACES["darts7"]


def penalty(alpha, **settings):
    """The term added to alpha's loss."""
    own = default_settings("fair_darts")
    vars(own).update(settings)
    made = build(own, Algorithm(None))
    (zero_one,) = made.penalties
    of = zero_one(SPACE, made.relaxation(SPACE, 1e-3), None).of
    return lambda arch: of(None, None, arch, {"at": At()}), alpha


@pytest.fixture
def alpha():
    rng = np.random.default_rng(0)
    return {kind: jnp.asarray(rng.normal(size=(14, 7))) for kind in SPACE.types}


def test_it_starts_where_every_operator_has_weight_one_half():
    relaxation = independent(SPACE)
    arch = relaxation.init(jax.random.key(0))
    for own in relaxation.mix(arch, At()).values():
        np.testing.assert_array_equal(own.ops, 0.5)
    assert relaxation.project is project_box


@pytest.mark.parametrize("form", ["square", "absolute"])
def test_the_zero_one_loss(alpha, form):
    """-10 times the mean over all 28 x 7 entries of both types of cells."""
    of, _ = penalty(alpha, form=form)
    sigma = np.concatenate([1 / (1 + np.exp(-np.asarray(a))) for a in alpha.values()])
    distance = (sigma - 0.5) ** 2 if form == "square" else abs(sigma - 0.5)
    np.testing.assert_allclose(of(alpha), -10 * distance.mean(), rtol=1e-6)


def test_it_has_no_slope_at_the_start_and_drives_apart_elsewhere(alpha):
    of, _ = penalty(alpha)
    zero = jax.tree.map(jnp.zeros_like, alpha)
    for own in jax.grad(of)(zero).values():
        np.testing.assert_array_equal(own, 0)
    for kind, own in jax.grad(of)(alpha).items():
        np.testing.assert_array_equal(np.sign(own), -np.sign(alpha[kind]))


def test_it_is_in_alphas_loss_alone():
    """The validation loss contains the penalty, the training loss does not."""
    this = case("fair_darts", "one")
    state = jax.jit(this.search.init)(jax.random.key(0))
    arch = {kind: own + 0.5 for kind, own in state.arch.items()}
    problem = this.search.problem
    batch = problem.task.draw(this.data["arch"], state.key, state.step, None)
    batch = problem.placed(batch, state, state.key)
    gap = problem.val(state.w, arch, batch) - problem.task.criterion(
        problem.outputs(state.w, arch, batch), batch
    )
    sigma = 1 / (1 + np.exp(-0.5))
    np.testing.assert_allclose(gap, -10 * (sigma - 0.5) ** 2, rtol=1e-4)
    out = problem.outputs(state.w, arch, batch)
    train = problem.task.objective(out, batch)
    np.testing.assert_allclose(problem.train(state.w, arch, batch), train, rtol=1e-6)
    forget()


def test_the_settings_of_the_released_code():
    config = get_config("cifar10")
    assert (config.search.rate, config.search.rate_min) == (0.005, 0.001)
    assert (config.search.batch, config.search.epochs) == (128, 50)
    own = config.arch.darts_first
    assert (own.rate, own.b1, own.b2, own.weight_decay) == (3e-3, 0.9, 0.999, 1e-3)
    assert "none" not in config.space.primitives and len(config.space.primitives) == 7
