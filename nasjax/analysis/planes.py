"""A loss on a plane through a point: its grid, its shape, and paths on it.

Li et al., "Visualizing the Loss Landscape of Neural Nets", NeurIPS 2018, with a cell
instead of a filter (Wang et al., "ZARTS", NeurIPS 2022, arXiv 2110.04743, figure 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax

from nasjax.core import arguments
from nasjax.engine.compiling import compiler_options
from nasjax.zeroth import ZerothOrder


class Plane(NamedTuple):
    """centre + i first + j second. All three are pytrees of one structure."""

    centre: Any
    first: Any
    second: Any

    def at(self, place: Array) -> Any:
        """The point with the coordinates (i, j)."""
        return jax.tree.map(lambda c, a, b: c + place[0] * a + place[1] * b, *self)


def plane(centre: Any, key: Array) -> Plane:
    """A random plane: two orthogonal directions in every leaf, of the leaf's length.

    Deviation: the released code of ZARTS makes the full directions orthogonal, then
    scales the part of each cell, after which they are no longer orthogonal. Here the
    parts of each cell are orthogonal: the coordinates of the plane form an orthogonal
    grid, in units of the centre's length.

    Raises:
      ValueError: a leaf is zero, or has fewer than two coordinates.

    >>> found = plane({"a": jnp.ones(4)}, jax.random.key(0))
    >>> first, second = found.first["a"], found.second["a"]
    >>> bool(jnp.allclose(jnp.stack([first @ first, second @ second]), 4, rtol=1e-5))
    True
    >>> bool(abs(first @ second) < 1e-5)
    True
    """
    leaves, structure = jax.tree.flatten(jax.tree.map(jnp.asarray, centre))
    for leaf in leaves:
        if leaf.size < 2 or not jnp.linalg.norm(leaf) > 0:
            raise ValueError(
                f"A part of the centre, of shape {leaf.shape}, is zero or has less than "
                "two coordinates; two directions of its length need more."
            )
    first: list[Array] = []
    second: list[Array] = []
    for leaf, own in zip(leaves, jax.random.split(key, len(leaves)), strict=True):
        a, b = jax.random.normal(own, (2, *leaf.shape), leaf.dtype)
        b = b - jnp.vdot(a, b) / jnp.vdot(a, a) * a
        for kept, direction in ((first, a), (second, b)):
            scale = jnp.linalg.norm(leaf) / jnp.linalg.norm(direction)
            kept.append(scale * direction)
    made = (leaves, first, second)
    return Plane(*(jax.tree.unflatten(structure, each) for each in made))


def evaluator(objective: Callable, chunk: int = 1) -> Callable:
    """(points [N, ...], *arguments) -> losses [N], `chunk` at once under vmap.

    One program is compiled for every N. It takes the memory of one chunk.

    Args:
      objective: (x, *arguments) -> scalar, of any pytrees.
      chunk: number of points evaluated at once; more are faster on a GPU, and take more
        memory.

    Raises:
      ValueError: chunk is not a positive integer.

    >>> losses = evaluator(lambda x, a: a * x, chunk=2)
    >>> losses(jnp.arange(3.0), 10.0).tolist()
    [0.0, 10.0, 20.0]
    """

    arguments.count(chunk, "chunk")

    def some(points, *arguments):
        each = lambda x: objective(x, *arguments)
        return lax.map(each, points) if chunk == 1 else jax.vmap(each)(points)

    program = jax.jit(some, compiler_options=compiler_options())

    def losses(points, *arguments) -> np.ndarray:
        count = len(jax.tree.leaves(points)[0])
        found = []
        for start in range(0, count, chunk):
            rows = np.minimum(np.arange(start, start + chunk), count - 1)
            part = jax.tree.map(lambda leaf: leaf[rows], points)
            found.append(np.asarray(program(part, *arguments)))
        return np.concatenate(found)[:count]

    return losses


def coordinates(points: int, extent: float) -> np.ndarray:
    """Points of a square grid from -extent to extent, [points^2, 2], row-major.

    >>> coordinates(3, 1.0)[:4].tolist()
    [[-1.0, -1.0], [-1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]]
    """
    axis = np.linspace(-extent, extent, points)
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)


class Shape(NamedTuple):
    """The shape of a landscape; lengths are in units of the plane's coordinates.

    Attributes:
      centre: the loss at (0, 0), or at the point of the grid that is nearest to it.
      minimum: the least loss of the grid.
      place: (i, j) of the minimum.
      spread: largest minus least loss.
      slope: mean length of the gradient over the grid.
      curvature: eigenvalues of the Hessian of the quadratic that fits best (least
        squares over the grid), ascending.
      misfit: standard deviation of the residual of the quadratic over the standard
        deviation of the losses; 0 for a quadratic.
    """

    centre: float
    minimum: float
    place: tuple[float, float]
    spread: float
    slope: float
    curvature: tuple[float, float]
    misfit: float


def shape(places: np.ndarray, losses: np.ndarray) -> Shape:
    """The shape of the losses [points^2] on the grid `coordinates` [points^2, 2].

    >>> places = coordinates(5, 1.0)
    >>> found = shape(places, 1 + (places[:, 0] - 0.5) ** 2 + 3 * places[:, 1] ** 2)
    >>> found.minimum, found.place
    (1.0, (0.5, 0.0))
    >>> [round(value, 6) for value in found.curvature]
    [2.0, 6.0]
    """
    i, j = np.asarray(places, np.float64).T
    values = np.asarray(losses, np.float64)
    terms = np.stack([np.ones_like(i), i, j, i * i / 2, i * j, j * j / 2], 1)
    fit, *_ = np.linalg.lstsq(terms, values, rcond=None)
    left = np.std(values - terms @ fit) / max(np.std(values), 1e-300)
    side = round(len(values) ** 0.5)
    axis = i.reshape(side, side)[:, 0]
    slopes = np.gradient(values.reshape(side, side), axis, axis, edge_order=2)
    least = int(values.argmin())
    low, high = np.linalg.eigvalsh([[fit[3], fit[4]], [fit[4], fit[5]]])
    return Shape(
        centre=float(values[np.hypot(i, j).argmin()]),
        minimum=float(values[least]),
        place=(float(i[least]), float(j[least])),
        spread=float(np.ptp(values)),
        slope=float(np.hypot(*slopes).mean()),
        curvature=(float(low), float(high)),
        misfit=float(left),
    )


def descend(
    gradient: Callable,
    start: Array,
    steps: int,
    optimizer: optax.GradientTransformation,
) -> np.ndarray:
    """The path [steps + 1, d] of an optimiser that is given gradient(x, step)."""
    x = jnp.asarray(start)
    state, path = optimizer.init(x), [x]
    for step in range(steps):
        updates, state = optimizer.update(gradient(x, step), state, x)
        x = optax.apply_updates(x, updates)
        path.append(x)
    return np.stack(path)


def walk(
    method: ZerothOrder,
    losses: Callable,
    start: Array,
    steps: int,
    key: Array,
    guide: Callable = lambda x: None,
) -> np.ndarray:
    """The path [steps + 1, d] of a zero-order method.

    Like `nasjax.zeroth.minimise`, for losses that are evaluated outside of a program.

    Args:
      method: proposes and moves.
      losses: points [N, d] -> [N].
      start: first point, [d].
      steps: number of moves.
      key: random key of all draws.
      guide: x -> guide of the method's proposal.
    """
    x = jnp.asarray(start)
    state, path = method.init(x, key), [x]
    for own in jax.random.split(key, steps):
        proposal = method.propose(state, x, own, guide(x))
        found = jnp.asarray(losses(proposal.candidates))
        x, state, _ = method.update(state, x, proposal, found)
        path.append(x)
    return np.stack(path)
