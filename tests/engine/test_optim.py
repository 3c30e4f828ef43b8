"""Three steps of each optimiser, worked out by hand from PyTorch's formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasjax.engine import optim


def steps(optimizer, w, grads):
    """The parameters after each gradient."""
    w = jax.tree.map(jnp.asarray, w)
    state, path = optimizer.init(w), []
    for grad in grads:
        grad = jax.tree.map(jnp.asarray, grad)
        updates, state = optimizer.update(grad, state, w)
        w = optax.apply_updates(w, updates)
        path.append(w)
    return path


def test_sgd():
    """Clip the raw gradient, add decay, then buffer, then the rate of this step.

    1. (3, 4) is clipped to (.6, .8); + .1 w = (.7, .6) is the first buffer.
    2. (.3, .4) is short enough; + .1 w = (.393, .194); .9 buffer + that = (1.023, .734).
    3. (-6, 8) is clipped to (-.6, .8); + .1 w = (-.508023, .593266);
       buffer (.412677, 1.253866).
    """
    rates = jnp.asarray([0.1, 0.01, 0.5])
    optimizer = optim.sgd(lambda step: rates[step], 0.9, 0.1, clip=1.0)
    grads = [{"a": 3.0, "b": 4.0}, {"a": 0.3, "b": 0.4}, {"a": -6.0, "b": 8.0}]
    path = steps(optimizer, {"a": 1.0, "b": -2.0}, grads)
    found = [[w["a"], w["b"]] for w in path]
    expected = [[0.93, -2.06], [0.91977, -2.06734], [0.7134315, -2.694273]]
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_sgd_without_clipping():
    """w <- w - .5 * buffer of 8 and .5 * 8 + 2 = 6."""
    path = steps(optim.sgd(0.5, 0.5, 0.0), 1.0, [8.0, 2.0])
    assert [float(w) for w in path] == [-3, -6]


def test_nesterov():
    """Buffers 8 and 6; w <- w - .5 (8 + .5 * 8), then w - .5 (2 + .5 * 6)."""
    path = steps(optim.sgd(0.5, 0.5, 0.0, nesterov=True), 1.0, [8.0, 2.0])
    assert [float(w) for w in path] == [-5, -7.5]


def test_the_rate_of_sgd_may_be_traced():
    w, grad = jnp.ones(2), jnp.asarray([1.0, -1.0])

    def after(rate):
        optimizer = optim.sgd(rate, 0.9, 0.0)
        return w + optimizer.update(grad, optimizer.init(w), w)[0]

    change = jax.jit(jax.jacfwd(after))(0.1)
    np.testing.assert_allclose(change, -grad, rtol=1e-6)


def test_adam():
    """Decay joins the gradient: 1.1, then -2 + .09, then .5 + .0958167.

    m: .55, -.68, -.0420917; v: .00121, .00485689, .00520703; corrected by 1 - .5^t and
    1 - .999^t; rates .1, .1, .01.
    """
    rates = jnp.asarray([0.1, 0.1, 0.01])
    optimizer = optim.adam(lambda step: rates[step], 0.5, 0.999, 0.1)
    path = steps(optimizer, 1.0, [1.0, -2.0, 0.5])
    expected = [0.9, 0.95816677, 0.95853172]
    np.testing.assert_allclose(path, expected, rtol=1e-6)


def test_the_eps_of_adam_is_outside_the_root():
    """eps halves a gradient of 1e-8; inside the root it would make it vanish."""
    path = steps(optim.adam(1.0, 0.5, 0.999, 0.0), 0.0, [1e-8])
    assert float(path[0]) == pytest.approx(-0.5, rel=1e-3)


def test_cosine_by_epoch():
    """The schedule of DARTS' search: .025 to .001 in 50 epochs, here of 7 steps."""
    schedule = jax.jit(optim.cosine(0.025, 0.001, 50, 7))
    by_epoch = np.array([float(schedule(7 * epoch)) for epoch in range(51)])
    # cos(pi / 5) and cos(2 pi / 5) are (1 +- sqrt 5) / 4 up to sign.
    golden = 5**0.5
    hand = {
        0: 0.025,
        10: 0.013 + 0.012 * (1 + golden) / 4,
        20: 0.013 + 0.012 * (golden - 1) / 4,
        25: 0.013,
        50: 0.001,
    }
    for epoch, rate in hand.items():
        assert by_epoch[epoch] == pytest.approx(rate, rel=1e-5)
    assert (np.diff(by_epoch) < 0).all()
    within = {float(schedule(step)) for step in range(70, 77)}
    assert within == {by_epoch[10].item()}
