import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.problems import smooth

from nasjax.engine import optim
from nasjax.hypergrad import Level, chain, descend, unrolled

pytestmark = pytest.mark.usefixtures("float64")


def test_two_levels_are_one_unrolled_step():
    """Momentum, weight decay and an optimiser state of an earlier step."""
    p, optimizer = smooth(), optim.sgd(0.3, 0.9, 0.1)
    state = optimizer.update(p.w, optimizer.init(p.w), p.w)[1]
    level = descend("w", lambda s, alpha, x: p.loss(s["w"], alpha, x), optimizer)
    two = chain([level], lambda s, alpha, x: p.loss(s["w"], alpha, x))
    found = jax.jit(two)({"w": p.w}, p.alpha, p.train, p.val, {"w": state})
    other = unrolled(p.loss, p.loss, optimizer)(p.w, p.alpha, p.train, p.val, state)
    np.testing.assert_allclose(found.grad, other.grad, rtol=1e-12)
    np.testing.assert_allclose(found.value, other.value, rtol=1e-12)
    assert two.cost == 4


def losses(depth):
    """Level i is pulled by alpha, and by all levels before and after it."""

    def one(index):
        def loss(solutions, alpha, batch):
            w = [solutions[f"w{i}"] for i in range(depth)]
            own = jnp.sum(jnp.cosh(w[index] - alpha * batch))
            others = sum(jnp.sum(jnp.sin(w[index] * w[i]) ** 2) for i in range(depth))
            return own + others

        return loss

    return [one(index) for index in range(depth)]


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_more_levels_are_the_derivative_of_the_composition(depth):
    draws = np.random.default_rng(depth)
    start = [draws.normal(size=3) for _ in range(depth)]
    alpha, batch, rate, momentum = draws.normal(size=3), draws.normal(size=3), 0.2, 0.9
    final = lambda s, alpha, batch: (
        sum(jnp.sum(jnp.tanh(w) ** 2) for w in s) + jnp.sum(alpha**3)
    )

    def by_hand(alpha):
        now = list(start)
        for index, loss in enumerate(losses(depth)):

            def own(w, index=index, loss=loss, now=tuple(now)):
                every = {f"w{i}": x for i, x in enumerate(now)} | {f"w{index}": w}
                return loss(every, alpha, batch)

            now[index] = now[index] - rate * jax.grad(own)(now[index])
        return final(now, alpha, None)

    optimizer = optax.sgd(rate, momentum)  # its first step is plain SGD
    levels = [descend(f"w{i}", loss, optimizer) for i, loss in enumerate(losses(depth))]
    estimator = chain(levels, lambda s, alpha, x: final([*s.values()], alpha, x))
    w = {f"w{i}": x for i, x in enumerate(start)}
    found = jax.jit(estimator)(w, alpha, batch, None)
    value, grad = jax.value_and_grad(by_hand)(alpha)
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    np.testing.assert_allclose(found.grad, grad, rtol=1e-10)


def test_a_level_of_the_users_own():
    """A level with a closed-form solution, after a level that descends."""
    middle = Level("m", lambda s, alpha, batch, state: s["w"] * alpha)
    level = descend("w", lambda s, alpha, x: (s["w"] - alpha) ** 2, optax.sgd(0.5))
    value, grad = chain([level, middle], lambda s, alpha, x: s["m"])(
        {"w": 0.0, "m": 9.0}, 3.0, None, None
    )
    assert (float(value), float(grad)) == (9.0, 6.0)  # w = alpha, m = alpha^2


@pytest.mark.parametrize(
    "w, state, words",
    [
        ({"v": 1.0}, None, r"w is \['v'\]; expected .* levels \['w'\]"),
        (1.0, None, "w is float; expected a dictionary"),
        ({"w": 1.0}, {"v": ()}, r"opt_state is \['v'\]"),
        ({"w": 1.0}, {"w": ()}, r"opt_state\['w'\] has the structure"),
    ],
)
def test_what_does_not_fit_is_said(w, state, words):
    level = descend("w", lambda s, a, x: (s["w"] - a) ** 2, optax.sgd(0.5, 0.9))
    estimator = chain([level], lambda s, a, x: s["w"])
    with pytest.raises(ValueError, match=words):
        estimator(w, 1.0, None, None, state)


def test_a_level_that_returns_something_else_is_named():
    level = Level("w", lambda s, alpha, batch, state: jnp.stack([s["w"]] * 2))
    with pytest.raises(ValueError, match="returned by level 'w' has shape"):
        chain([level], lambda s, a, x: jnp.sum(s["w"]))(
            {"w": jnp.ones(2)}, 1.0, None, None
        )


def test_names_must_differ():
    level = descend("w", lambda s, a, x: s["w"], optax.sgd(0.5))
    with pytest.raises(ValueError, match="distinct names"):
        chain([level, level], lambda s, a, x: s["w"])
