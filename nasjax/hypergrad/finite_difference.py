"""The papers' finite differences, kept for comparison. Use the exact products.

Both estimators have errors that the exact ones do not have: of order epsilon^2 for a
smooth loss, and of order (machine precision / epsilon) from cancellation. In float32
two to four digits are left, in bfloat16 none. They take the memory of one gradient.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nasjax.core import arguments
from nasjax.hypergrad import estimators, optimizers
from nasjax.hypergrad.estimators import Estimator, Hypergradient

EPSILON = 0.01  # in both papers: the distance |w+ - w| in parameter space


def hvp(loss: Callable, w, arch, batch, v, epsilon: float = EPSILON) -> Any:
    """[grad_w L(w + r v) - grad_w L(w - r v)] / 2r with r = epsilon / |v|.

    Approximates `hypergrad.hvp` by two gradient evaluations.
    """
    slope = jax.grad(arguments.scalar(loss, "loss"))
    return _along(slope, w, arch, batch, v, epsilon)


def mixed_vjp(loss: Callable, w, arch, batch, v, epsilon: float = EPSILON) -> Any:
    """[grad_alpha L(w + r v) - grad_alpha L(w - r v)] / 2r with r = epsilon / |v|.

    Approximates `hypergrad.mixed_vjp` by two gradient evaluations. DARTS, eq. 8.
    """
    arguments.floating(arch, "arch")
    slope = jax.grad(arguments.scalar(loss, "loss"), 1)
    return _along(slope, w, arch, batch, v, epsilon)


def along(epsilon: float = EPSILON, norm: Callable | None = None) -> Callable:
    """(f, x, v) -> [f(x + r v) - f(x - r v)] / 2r with r = epsilon / |v|.

    Pass it to `hypergrad.descend`: `chain` then takes finite differences level by
    level, each along the cotangent from the next level, as SANAS does.

    Args:
      epsilon: distance |r v| in the space of x.
      norm: v -> |v|; None: the root of the sum of all squares.

    Raises:
      ValueError: epsilon is not above 0.

    >>> round(float(along(0.1)(lambda x: x**2, 3.0, 2.0)), 3)  # 2 x v
    12.0
    """
    arguments.number(epsilon, "epsilon", 0, above=True)
    norm = norm or _norm

    def difference(f: Callable, x, v):
        r = _radius(norm(v), epsilon)
        step = jax.tree.map(lambda leaf: r * leaf, v)
        found = _half_difference(f, x, step)
        return jax.tree.map(lambda leaf: leaf / r, found)

    return difference


def unrolled(
    train_loss: Callable, val_loss: Callable, optimizer, epsilon: float = EPSILON
) -> Estimator:
    """One unrolled step with its second-order term by eq. 8 of DARTS.

    Takes four gradient evaluations. The gradient with respect to w' is pulled back
    through the optimiser first; for SGD that multiplies it by -xi, as in the paper.

    Raises:
      ValueError: epsilon is not above 0. When called: opt_state is not a state of the
        optimiser.
    """
    arguments.number(epsilon, "epsilon", 0, above=True)
    train_loss = arguments.scalar(train_loss, "train_loss")
    val_loss = arguments.scalar(val_loss, "val_loss")
    exact = estimators.unrolled(train_loss, val_loss, optimizer)

    def estimate(w, arch, train_batch, val_batch, opt_state):
        w = jax.tree.map(jnp.asarray, w)
        state = optimizers.live(optimizer, w, opt_state)
        stepped = lambda slope: optimizers.step(optimizer, slope, state, w)[0]

        slope = jax.grad(train_loss)(w, arch, train_batch)
        after, pull = jax.vjp(stepped, slope)
        value, (v, direct) = jax.value_and_grad(val_loss, (0, 1))(
            after, arch, val_batch
        )
        indirect = mixed_vjp(train_loss, w, arch, train_batch, pull(v)[0], epsilon)
        return Hypergradient(value, jax.tree.map(jnp.add, direct, indirect))

    return dataclasses.replace(
        exact, name="unrolled_finite_difference", estimate=estimate, cost=4
    )


def amended(
    train_loss: Callable, val_loss: Callable, eta, epsilon: float = EPSILON
) -> Estimator:
    """Amended-DARTS by eqs. 14 and 15 of arXiv 1910.11831. Five gradient evaluations.

    Let v = grad_w L_val, e = epsilon / |v|, and d = e H v, taken as half the difference
    of the gradients at w + e v and w - e v. The amending term is -eta / e times half
    the difference of grad_alpha L_train at w + d and w - d. It is exact for quadratics.

    Raises:
      ValueError: epsilon is not above 0.
    """
    arguments.number(epsilon, "epsilon", 0, above=True)
    train_loss = arguments.scalar(train_loss, "train_loss")
    val_loss = arguments.scalar(val_loss, "val_loss")

    def objective(w, arch, train_batch, val_batch, opt_state=None):
        del train_batch, opt_state
        return val_loss(w, arch, val_batch)

    def estimate(w, arch, train_batch, val_batch, opt_state):
        del opt_state
        value, (v, direct) = jax.value_and_grad(val_loss, (0, 1))(w, arch, val_batch)
        e = _radius(_norm(v), epsilon)
        slope = lambda w: jax.grad(train_loss)(w, arch, train_batch)
        arch_slope = lambda w: jax.grad(train_loss, 1)(w, arch, train_batch)
        d = _half_difference(slope, w, jax.tree.map(lambda leaf: e * leaf, v))
        term = _half_difference(arch_slope, w, d)
        grad = jax.tree.map(lambda g, t: g - eta * t / e, direct, term)
        return Hypergradient(value, grad)

    return Estimator("amended_finite_difference", objective, estimate, 5, solved=True)


def _along(slope: Callable, w, arch, batch, v, epsilon: float):
    arguments.floating(w, "w")
    arguments.like(v, w, "v", "w")
    return along(epsilon)(lambda w: slope(w, arch, batch), w, v)


def _half_difference(f: Callable, w, step):
    """[f(w + step) - f(w - step)] / 2."""
    ahead = f(jax.tree.map(jnp.add, w, step))
    behind = f(jax.tree.map(jnp.subtract, w, step))
    return jax.tree.map(lambda a, b: (a - b) / 2, ahead, behind)


def _radius(norm, epsilon: float):
    """epsilon / norm, or 1 for v = 0, where every difference is 0."""
    return jnp.where(norm > 0, epsilon / jnp.where(norm > 0, norm, 1), 1)


def _norm(v):
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(v)))
