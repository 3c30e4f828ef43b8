"""Inverses: (matvec, v) -> approximately H^-1 v, for a symmetric H given by products.

`implicit` takes any function of this form. An `Inverse` also has
`.solve(matvec, v) -> (x, report)`, whose report holds diagnostics, and `.products`, the
number of products with H.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.core import arguments


@dataclasses.dataclass(frozen=True)
class Inverse:
    """An approximate inverse; call it as (matvec, v) -> x.

    Attributes:
      name: name in logs and results.
      solve: (matvec, v) -> (x, report); report is a dictionary of scalars.
      products: largest number of products with H.
    """

    name: str
    solve: Callable
    products: int

    def __call__(self, matvec: Callable, v: Any) -> Any:
        return self.solve(matvec, v)[0]


def identity(lr) -> Inverse:
    """lr . v, which ignores the curvature. Takes no product.

    With it `implicit` is the estimate of one gradient step from an optimum: DARTS'
    second order, simplified by taking its gradients at the current w.

    >>> round(float(identity(0.1)(None, 2.0)), 6)
    0.2
    """
    return Inverse("identity", lambda matvec, v: (_scale(lr, v), {}), 0)


def amended(eta) -> Inverse:
    """eta . H v, which has the sign of H^-1 v along every eigenvector of H > 0.

    Takes one product. Bi et al., "Stabilizing DARTS with Amended Gradient Estimation
    on Architectural Parameters", arXiv 1910.11831, eq. 5.

    >>> round(float(amended(0.1)(lambda v: 4.0 * v, 2.0)), 6)
    0.8
    """
    return Inverse("amended", lambda matvec, v: (_scale(eta, matvec(v)), {}), 1)


def neumann(lr, terms: int) -> Inverse:
    """lr . sum_{k < terms} (I - lr H)^k v, tending to H^-1 v if H > 0, lr < 2 / |H|.

    Equals differentiating `terms` gradient steps of rate lr that stay at an optimum.
    Takes terms - 1 products. Lorraine, Vicol, Duvenaud, "Optimizing Millions of
    Hyperparameters by Implicit Differentiation", AISTATS 2020, eq. 8.

    Report: neumann_last, the norm of the last term over the norm of the first. Above 1
    the series diverges: lower lr or damp H.

    Raises:
      ValueError: terms is below 1, or lr is not above 0.

    >>> float(neumann(0.25, 2)(lambda v: 2.0 * v, 4.0))  # 0.25 (4 + 2)
    1.5
    """
    arguments.count(terms, "terms")
    arguments.number(lr, "lr", 0, above=True)

    def solve(matvec, v):
        _, matvec = jax.linearize(matvec, v)

        def add(_, carry):
            total, term = carry
            term = _plus(term, -lr, matvec(term))
            return _plus(total, 1, term), term

        total, term = lax.fori_loop(0, terms - 1, add, (v, v))
        first = _norm(v)
        ratio = jnp.where(first > 0, _norm(term) / jnp.where(first > 0, first, 1), 0)
        return _scale(lr, total), {"neumann_last": ratio}

    return Inverse("neumann", _on_arrays(solve), terms - 1)


def cg(max_steps: int, damping=0.0, tol=1e-6) -> Inverse:
    """(H + damping I)^-1 v by conjugate gradients, from 0.

    Stops when the relative residual |v - (H + damping I) x| / |v| is at most tol, after
    max_steps steps, or where the curvature along the next direction is not positive. In
    the last case it returns the iterate before that direction, which is 0 for the first
    direction. Takes at most max_steps products. The loop has no fixed length, so
    forward mode can differentiate it but reverse mode cannot.

    Report: cg_steps, the number of steps; cg_residual, the relative residual;
    cg_negative_curvature, True if it stopped for lack of positive curvature: raise the
    damping, or use the curvature `ggn`.

    Raises:
      ValueError: max_steps is below 1, or damping or tol is below 0.

    >>> import jax.numpy as jnp
    >>> matvec = lambda v: jnp.array([1.0, 10.0]) * v
    >>> [round(x, 4) for x in cg(2)(matvec, jnp.ones(2)).tolist()]
    [1.0, 0.1]
    """
    arguments.count(max_steps, "max_steps")
    arguments.number(damping, "damping", 0)
    arguments.number(tol, "tol", 0)

    def solve(matvec, v):
        _, matvec = jax.linearize(matvec, v)
        target = tol * _norm(v)

        def unfinished(carry):
            _, residual, _, step, negative = carry
            return (step < max_steps) & (_norm(residual) > target) & ~negative

        def advance(carry):
            x, residual, direction, step, _ = carry
            product = _plus(matvec(direction), damping, direction)
            curvature = _dot(direction, product)
            negative = ~(curvature > 0)  # nan counts as negative
            square = _dot(residual, residual)
            length = square / jnp.where(negative, 1, curvature)
            after = _plus(residual, -length, product)
            ratio = _dot(after, after) / square
            moved = (_plus(x, length, direction), after, _plus(after, ratio, direction))
            kept = jax.tree.map(
                lambda old, new: jnp.where(negative, old, new),
                (x, residual, direction),
                moved,
            )
            return (*kept, step + jnp.where(negative, 0, 1), negative)

        start = (_scale(0, v), v, v, jnp.int32(0), jnp.bool_(False))
        x, residual, _, steps, negative = lax.while_loop(unfinished, advance, start)
        norm = _norm(v)
        relative = jnp.where(
            norm > 0, _norm(residual) / jnp.where(norm > 0, norm, 1), 0
        )
        return x, {
            "cg_steps": steps,
            "cg_residual": relative,
            "cg_negative_curvature": negative,
        }

    return Inverse("cg", _on_arrays(solve), max_steps)


def _on_arrays(solve: Callable) -> Callable:
    return lambda matvec, v: solve(matvec, jax.tree.map(jnp.asarray, v))


def _scale(c, x):
    return jax.tree.map(lambda a: jnp.asarray(c * a, jnp.result_type(a)), x)


def _plus(x, c, y):
    """x + c y, in x's types."""
    return jax.tree.map(lambda a, b: jnp.asarray(a + c * b, jnp.result_type(a)), x, y)


def _dot(x, y):
    """The inner product, summed in float32 at least."""
    total: Any = 0.0
    for a, b in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True):
        wide = jnp.promote_types(jnp.result_type(a), jnp.float32)
        total = total + jnp.sum(jnp.asarray(a, wide) * jnp.asarray(b, wide))
    return total


def _norm(x):
    return jnp.sqrt(_dot(x, x))
