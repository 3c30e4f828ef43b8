"""Landscapes of functions with known landscapes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasjax.analysis import (
    coordinates,
    descend,
    evaluator,
    plane,
    shape,
    walk,
)
from nasjax.zeroth import gld

pytestmark = pytest.mark.usefixtures("float64")


def quadratic(seed=0, sizes=(6, 9)):
    """x, L(x) = 3 + g.x + x'Ax / 2 over a pytree, and its parts."""
    rng = np.random.default_rng(seed)
    d = sum(sizes)
    root = rng.normal(size=(d, d))
    a, g = root @ root.T / d, rng.normal(size=d)
    x = {
        "normal": jnp.asarray(rng.normal(size=(2, sizes[0] // 2))),
        "reduce": jnp.asarray(rng.normal(size=sizes[1])),
    }

    def objective(x, scale=1.0):
        flat = jnp.concatenate([x["normal"].ravel(), x["reduce"]])
        return scale * (3 + g @ flat + flat @ a @ flat / 2)

    return x, objective, a, g


def flat(x):
    return np.concatenate([np.ravel(x["normal"]), np.ravel(x["reduce"])])


def test_directions_are_orthogonal_and_as_long_as_each_cell():
    x, *_ = quadratic()
    found = plane(x, jax.random.key(3))
    for kind, leaf in x.items():
        a, b = np.ravel(found.first[kind]), np.ravel(found.second[kind])
        length = np.linalg.norm(leaf)
        np.testing.assert_allclose(
            [np.linalg.norm(a), np.linalg.norm(b)], length, rtol=1e-12
        )
        assert abs(a @ b) < 1e-12 * length**2


@pytest.mark.parametrize("centre", [{"a": jnp.zeros(5)}, {"a": jnp.ones(1)}])
def test_no_plane_through_nothing(centre):
    with pytest.raises(ValueError, match="zero or has less than two coordinates"):
        plane(centre, jax.random.key(0))


def test_grid_of_a_quadratic_is_its_closed_form():
    """L on the plane is a quadratic in (i, j), with directions D = [first, second]."""
    x, objective, a, g = quadratic()
    on = plane(x, jax.random.key(1))
    places = coordinates(7, 2.0)
    points = jax.vmap(on.at)(jnp.asarray(places))
    losses = evaluator(objective, chunk=4)(points, 2.0)

    centre, d = flat(x), np.stack([flat(on.first), flat(on.second)], 1)
    slope, hessian = d.T @ (g + a @ centre), d.T @ a @ d
    base = 3 + g @ centre + centre @ a @ centre / 2
    form = np.einsum("pi,ij,pj->p", places, hessian, places) / 2
    np.testing.assert_allclose(losses, 2 * (base + places @ slope + form), rtol=1e-12)

    found = shape(places, losses)
    np.testing.assert_allclose(found.centre, 2 * base)
    np.testing.assert_allclose(found.curvature, np.linalg.eigvalsh(2 * hessian))
    assert found.misfit < 1e-12
    assert found.minimum == losses.min() and found.spread == np.ptp(losses)
    np.testing.assert_allclose(found.place, places[losses.argmin()])
    lengths = np.linalg.norm(2 * (slope + places @ hessian), axis=1)
    np.testing.assert_allclose(found.slope, lengths.mean())


def test_shape_of_a_plane_and_of_a_wave():
    places = coordinates(9, 1.0)
    flat = shape(places, places @ [3.0, 4.0])
    np.testing.assert_allclose(flat.slope, 5)
    np.testing.assert_allclose(flat.curvature, 0, atol=1e-12)
    assert shape(places, np.cos(9 * places[:, 0])).misfit > 0.5


@pytest.mark.parametrize("chunk", [1, 3, 5, 8])
def test_chunks_change_nothing(chunk):
    x, objective, *_ = quadratic()
    points = jax.tree.map(lambda leaf: jnp.stack([leaf * i for i in range(5)]), x)
    expected = [objective(jax.tree.map(lambda leaf: leaf * i, x)) for i in range(5)]
    np.testing.assert_allclose(
        evaluator(objective, chunk)(points), expected, rtol=1e-12
    )


def test_descend_is_gradient_descent():
    """On L = x'Hx / 2, x_t = (1 - rate H)^t x_0."""
    h, start = np.array([1.0, 4.0]), np.array([2.0, -3.0])
    path = descend(lambda x, _: h * x, jnp.asarray(start), 6, optax.sgd(0.1))
    powers = (1 - 0.1 * h) ** np.arange(7)[:, None]
    np.testing.assert_allclose(path, powers * start, rtol=1e-12)


def test_walk_of_gld_never_climbs():
    objective = lambda x: (x[0] - 1) ** 2 + 10 * x[1] ** 2
    losses = evaluator(objective, chunk=2)
    start = jnp.array([-0.5, 0.5])
    path = walk(gld(1.0, 0.05), losses, start, 20, jax.random.key(0))
    values = losses(jnp.asarray(path))
    assert path.shape == (21, 2) and (path[0] == start).all()
    assert (np.diff(values) <= 0).all() and values[-1] < 0.1
