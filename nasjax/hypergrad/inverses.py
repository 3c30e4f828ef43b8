"""Inverses: (matvec, v) -> approximately H^-1 v, for a symmetric H given by products.

`implicit` takes any function of this form. An `Inverse` also has
`.solve(matvec, v) -> (x, report)`, whose report holds diagnostics, and `.products`, the
number of products with H.
"""

from __future__ import annotations

import dataclasses
import functools
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
      damping: x approximates (H + damping I)^-1 v.
    """

    name: str
    solve: Callable
    products: int
    damping: Any = 0.0

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

    Report: neumann_last, the norm of the last term over the norm of the first, inf
    where the last term overflows and 0 for v = 0. Above 1 the series diverges: lower
    lr, or use the curvature `ggn` if H has a negative eigenvalue.

    Raises:
      ValueError: terms is below 1, or lr is not above 0.

    >>> float(neumann(0.25, 2)(lambda v: 2.0 * v, 4.0))  # 0.25 (4 + 2)
    1.5
    """
    arguments.count(terms, "terms")
    arguments.number(lr, "lr", 0, above=True)

    def solve(matvec, v):
        _, matvec = jax.linearize(matvec, v)

        first = _norm(v)

        def add(_, carry):
            total, term, last = carry
            term = _plus(term, -lr, matvec(term))
            norm = _norm(term)
            # A term that has grown becomes nan where infinities cancel.
            norm = jnp.where(jnp.isnan(norm) & (last > first), jnp.inf, norm)
            return _plus(total, 1, term), term, norm

        total, _, last = lax.fori_loop(0, terms - 1, add, (v, v, first))
        return _scale(lr, total), {"neumann_last": _ratio(last, first)}

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
        return x, {
            "cg_steps": steps,
            "cg_residual": _ratio(_norm(residual), _norm(v)),
            "cg_negative_curvature": negative,
        }

    return Inverse("cg", _on_arrays(solve), max_steps, damping)


def _on_arrays(solve: Callable) -> Callable:
    """solve for v divided by a power of two, whose squares can be summed.

    The division is exact. Without it, squares of a small v vanish in single precision.
    """

    def scaled(matvec, v):
        v = jax.tree.map(jnp.asarray, v)
        wide = functools.reduce(
            jnp.promote_types, [a.dtype for a in jax.tree.leaves(v)], jnp.float32
        )
        largest = [jnp.max(jnp.abs(a), initial=0) for a in jax.tree.leaves(v)]
        most = lax.stop_gradient(jnp.stack([a.astype(wide) for a in largest]).max())
        exponent = jnp.where(jnp.isfinite(most), jnp.frexp(most)[1], 0)
        power = jnp.ldexp(jnp.ones((), wide), jnp.clip(exponent, -100, 100))
        times = lambda c, x: jax.tree.map(
            lambda a: (a.astype(wide) * c).astype(a.dtype), x
        )
        x, report = solve(matvec, times(1 / power, v))
        return times(power, x), report

    return scaled


def _ratio(a, b):
    """a / b for norms; a where b is 0."""
    return a / jnp.where(b == 0, 1, b)


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
