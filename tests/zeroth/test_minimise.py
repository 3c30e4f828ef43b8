"""The loop, and how far the methods get, next to evosax as a sanity check."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasjax.zeroth import gld, mgs, minimise, random_search

EVALUATIONS = 20_000
SEEDS = 3


def rosenbrock(x):  # 24.2 at the start
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def ill_conditioned(x):  # curvatures from 1 to 1000; 933 at the start
    return jnp.sum(jnp.logspace(0, 3, 10) * x**2) / 2


STARTS = {rosenbrock: [-1.2, 1.0], ill_conditioned: [1.0] * 10}


def narrowing(updates):
    """From 0.3 to 0.001 over the 1000 updates."""
    return 0.3 * (1 / 300) ** (updates / 1000)


METHODS = {
    "rs": random_search(5, 1e-3, 1e-3),
    "mgs": mgs(20, narrowing, 1e-3, weights="likelihood"),
    "gld": gld(1.0, 1e-4),
}


@pytest.mark.parametrize(
    ("name", "objective", "value"),
    [
        ("rs", rosenbrock, 0.1),
        ("mgs", rosenbrock, 1e-3),
        ("gld", rosenbrock, 1e-7),
        ("rs", ill_conditioned, 0.05),
        ("mgs", ill_conditioned, 1e-2),
        ("gld", ill_conditioned, 0.1),
    ],
)
def test_it_reaches_the_value_in_20_000_evaluations(name, objective, value):
    for reached in ours(name, objective):
        assert reached <= value


def ours(name, objective):
    """The values that some seeds reach."""
    method, x = METHODS[name], jnp.array(STARTS[objective])
    steps = EVALUATIONS // method.samples
    run = lambda key: objective(minimise(method, objective, x, key, steps)[0])
    return jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), SEEDS))


@pytest.mark.parametrize("objective", STARTS)
@pytest.mark.parametrize("name", ["rs", "gld"])
def test_evosax_gets_as_far(name, objective):
    """OpenAI-ES without ranks is RS with normal draws; evosax's GLD keeps the best."""
    evosax = pytest.importorskip("evosax.algorithms")
    from evosax.core.fitness_shaping import identity_fitness_shaping_fn as no_ranks

    x = jnp.array(STARTS[objective])
    rows = METHODS[name].samples
    if name == "gld":
        method = evosax.GradientlessDescent(rows, x)
        settings = {"radius_max": 1.0, "radius_min": 1e-4, "radius_decay": 1.0}
    else:
        constant = optax.constant_schedule(1e-3)
        method = evosax.Open_ES(rows, x, True, optax.sgd(1e-3), constant, no_ranks)
        settings = {}
    params = method.default_params.replace(**settings)

    def run(key):
        def step(state, key):
            ask, tell = jax.random.split(key)
            rows, state = method.ask(ask, state, params)
            losses = jax.vmap(objective)(rows)
            return method.tell(tell, rows, losses, state, params)[0], None

        keys = jax.random.split(key, EVALUATIONS // rows)
        state, _ = jax.lax.scan(step, method.init(key, x, params), keys)
        return objective(method.get_mean(state))

    with jax.numpy_rank_promotion("allow"):
        theirs = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(1), SEEDS))
    gap = np.log10(np.median(ours(name, objective)) / np.median(theirs))
    assert abs(gap) < 1


def test_it_is_the_loop_of_the_three_functions():
    method, start, steps = METHODS["gld"], {"x": jnp.array([-1.2, 1.0])}, 5
    objective = lambda x: rosenbrock(x["x"])
    key = jax.random.key(0)
    found, history = minimise(method, objective, start, key, steps)
    init_key, keys = jax.random.split(key)
    x, state = start, method.init(start, init_key)
    for i, key in enumerate(jax.random.split(keys, steps)):
        proposal = method.propose(state, x, key)
        losses = jax.vmap(objective)(proposal.candidates)
        x, state, metrics = method.update(state, x, proposal, losses)
        for name, value in metrics.items():
            np.testing.assert_allclose(history[name][i], value, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found["x"], x["x"], rtol=1e-6)


def test_with_its_gradient_for_a_guide_and_no_spread_mgs_descends_it():
    """x <- x - rate h x: powers of 1 - rate h."""
    h, x = jnp.array([1.0, 3.0]), jnp.array([2.0, -1.0])
    objective = lambda x: jnp.sum(h * x**2) / 2
    method = mgs(4, 1e-7, 1.0, guide_scale=0.1)
    found, _ = minimise(
        method, objective, x, jax.random.key(0), 10, jax.grad(objective)
    )
    np.testing.assert_allclose(found, (1 - 0.1 * h) ** 10 * x, rtol=1e-5)


def test_x_may_be_a_number():
    x, _ = minimise(gld(1.0, 1e-3), lambda x: (x - 2) ** 2, 0.0, jax.random.key(0), 50)
    assert abs(x - 2) < 1e-2


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="steps is 0; expected"):
        minimise(METHODS["gld"], rosenbrock, jnp.ones(2), jax.random.key(0), 0)
