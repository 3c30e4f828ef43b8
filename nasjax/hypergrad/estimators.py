"""Estimators of d L_val(w*(alpha), alpha) / d alpha."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from nasjax.core import arguments
from nasjax.hypergrad import optimizers
from nasjax.hypergrad.diagnosis import Diagnosis, Step, Walk
from nasjax.hypergrad.linear_system import Solution, System
from nasjax.hypergrad.products import gradient, hvp, mixed_vjp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hypergradient:
    """The result of an estimator; unpacks as `value, grad = ...`.

    Attributes:
      value: the validation loss, scalar.
      grad: a pytree like arch.
      report: diagnostics of inner computations, name -> scalar; see `cg`, `neumann`.
    """

    value: Array
    grad: Any
    report: dict[str, Array] = dataclasses.field(default_factory=dict)

    def __iter__(self):
        return iter((self.value, self.grad))


@dataclasses.dataclass(frozen=True)
class Estimator:
    """A hypergradient estimator; call it, also under `jax.jit` and `jax.vmap`.

    Attributes:
      name: name in logs and results.
      objective: (w, arch, train_batch, val_batch, opt_state=None) -> scalar, the
        function of arch whose total derivative the estimator claims; see `solved`.
      estimate: (w, arch, train_batch, val_batch, opt_state) -> Hypergradient.
      cost: cost in gradient evaluations on one batch; a product counts as two.
      solved: True if the claim is for w = w*(arch), the solution of the inner problem.
      diagnosis: explains a wrong result to `check`; None if nothing is known.
    """

    name: str
    objective: Callable
    estimate: Callable
    cost: float
    solved: bool = False
    diagnosis: Diagnosis | None = None

    def __call__(
        self, w, arch, train_batch, val_batch, opt_state=None
    ) -> Hypergradient:
        """The hypergradient at (w, arch).

        Raises:
          TypeError: a leaf of w or arch is not floating point; a leaf of a batch is not
            an array; a loss is not a scalar.
          ValueError: structures or shapes do not match; the optimiser's init or update
            fails.
        """
        accepted(w, arch, train_batch, val_batch)
        return self.estimate(w, arch, train_batch, val_batch, opt_state)


def accepted(w, arch, train_batch, val_batch) -> None:
    """Refuses values that no estimator can take.

    Raises:
      TypeError: w or arch holds no array, or a leaf that is not floating point; a leaf
        of a batch is not an array.
    """
    for name, tree in (("w", w), ("arch", arch)):
        if not jax.tree.leaves(tree):
            raise TypeError(
                f"{name} is {tree!r:.80}, which holds no array; expected a pytree of "
                "floating-point arrays."
            )
        arguments.floating(tree, name)
    arguments.arrays(train_batch, "train_batch")
    arguments.arrays(val_batch, "val_batch")


def first_order(val_loss: Callable) -> Estimator:
    """grad_alpha L_val(w, alpha), with w taken as independent of alpha (DARTS, xi = 0).

    Takes the time and memory of one gradient evaluation. Liu et al., "DARTS",
    ICLR 2019, section 2.3.

    Args:
      val_loss: (w, arch, batch) -> scalar.

    >>> value, grad = first_order(lambda w, a, batch: a * w - 2 * a + 1)(
    ...     -2.0, 2.0, None, None)
    >>> float(value), float(grad)
    (-7.0, -4.0)
    """
    val_loss = arguments.scalar(val_loss, "val_loss")

    def objective(w, arch, train_batch, val_batch, opt_state=None):
        del train_batch, opt_state
        return val_loss(w, arch, val_batch)

    def estimate(w, arch, train_batch, val_batch, opt_state):
        del train_batch, opt_state
        return Hypergradient(*jax.value_and_grad(val_loss, 1)(w, arch, val_batch))

    return Estimator("first_order", objective, estimate, 1)


def unrolled(
    train_loss: Callable,
    val_loss: Callable,
    optimizer,
    steps: int = 1,
    remat: bool = False,
) -> Estimator:
    """d L_val(w_T, alpha) / d alpha, w_T being T optimiser steps from w (DARTS, eq. 7).

    The derivative is exact and includes the optimiser. With lambda_T = grad_w
    L_val(w_T, alpha) pulled back step by step, and c_t the cotangent of the gradient
    g_t = grad_w L_train(w_t, alpha) that the optimiser was given,

        grad = grad_alpha L_val(w_T, alpha) + sum_t D_alpha,w L_train(w_t, alpha) . c_t,
        lambda_t = (the optimiser's cotangent of w_t) + D_w^2 L_train(w_t, alpha) . c_t.

    The cost is T + 1 gradient evaluations and T products: 3 T + 1 gradient evaluations,
    and T more with `remat`. Memory holds T copies of w, and T copies of the optimiser's
    state if its derivative needs them (Adam does, momentum does not); with `remat`
    about 2 sqrt(T) copies of w and sqrt(T) copies of the state. It also holds the
    intermediate values of one gradient at a time.

    `objective` must be differentiated in reverse mode first: jax.grad and jax.hessian
    work, jax.jvp and jax.jacfwd raise TypeError. The estimator supports both modes.

    Args:
      train_loss, val_loss: (w, arch, batch) -> scalar.
      optimizer: anything with optax's init and update. `opt_state` is its current
        state; None starts it afresh.
      steps: T. Above 1, every leaf of train_batch has a leading axis [T].
      remat: recompute segments of about sqrt(T) steps instead of keeping them.

    Raises:
      TypeError: the optimiser lacks init or update.
      ValueError: steps is below 1. When called: train_batch lacks the leading axis,
        opt_state is not a state of the optimiser, or update needs more than a gradient,
        as that of `optax.lbfgs` does.

    >>> import optax
    >>> estimator = unrolled(
    ...     lambda w, a, batch: 0.5 * (w - a) ** 2,  # w' = w - 0.1 (w - a)
    ...     lambda w, a, batch: w,                   # d w' / d a = 0.1
    ...     optax.sgd(0.1))
    >>> value, grad = estimator(1.0, 0.0, None, None)
    >>> round(float(value), 6), round(float(grad), 6)
    (0.9, 0.1)
    """
    arguments.count(steps, "steps")
    optimizers.pair(optimizer)
    val_loss = arguments.scalar(val_loss, "val_loss")
    train_loss = arguments.scalar(train_loss, "train_loss")
    train_gradient = gradient(train_loss)

    def objective(w, arch, train_batch, val_batch, opt_state=None):
        w = jax.tree.map(jnp.asarray, w)
        state = optimizers.live(optimizer, w, opt_state)

        def step(carry, batch):
            w, state = carry
            slope = train_gradient(w, arch, batch)
            return optimizers.carried(optimizer, slope, state, w), None

        if steps == 1:
            slope = train_gradient(w, arch, train_batch)
            w, _ = optimizers.step(optimizer, slope, state, w)
        else:
            arguments.leading(train_batch, steps)
            w, _ = _scan(step, (w, state), train_batch, steps, remat)
        return val_loss(w, arch, val_batch)

    def estimate(w, arch, train_batch, val_batch, opt_state):
        total = jax.value_and_grad(objective, 1)
        return Hypergradient(*total(w, arch, train_batch, val_batch, opt_state))

    def walk(w, arch, train_batch, val_batch, opt_state):
        slope_at = jax.jit(jax.grad(train_loss))
        w = jax.tree.map(jnp.asarray, w)
        state = optimizers.live(optimizer, w, opt_state)
        for t in range(steps):
            one = jax.tree.map(lambda leaf: leaf[t], train_batch)
            slope = slope_at(w, arch, one if steps > 1 else train_batch)
            yield Step(f"step {t + 1}", "train_loss", optimizer, slope, state, w)
            w, state = optimizers.step(optimizer, slope, state, w)
        slopes = jax.grad(val_loss, (0, 1))(w, arch, val_batch)
        yield Step("", "val_loss", None, slopes, state, w)

    name = "unrolled" if steps == 1 else f"unrolled_{steps}"
    cost = 3 * steps + 1 + remat * steps
    return Estimator(name, objective, estimate, cost, diagnosis=Walk(walk))


def implicit(
    train_loss: Callable,
    val_loss: Callable,
    inverse: Callable,
    curvature: Callable = hvp,
) -> Estimator:
    """grad_alpha L_val - (d2 L_train / d alpha d w) . H^-1 . grad_w L_val, at (w, alpha).

    This is the implicit function theorem at an optimum w = w*(alpha) of L_train, whose
    Hessian in w is H; it is exact there if the inverse is. The cost is one gradient
    evaluation, the inverse's products and one mixed product: 3 + 2 `inverse.products`
    gradient evaluations. The products of `neumann` and `cg` share the intermediate
    values of one gradient, which stay in memory.

    Args:
      train_loss, val_loss: (w, arch, batch) -> scalar.
      inverse: (matvec, v) -> approximately H^-1 v, a pytree like w: `identity`,
        `amended`, `neumann`, `cg`, or your own function, counted as one product.
      curvature: (loss, w, arch, batch, v) -> H v; `ggn(...)` where H is indefinite.

    >>> from nasjax.hypergrad import cg
    >>> estimator = implicit(
    ...     lambda w, a, x: (w * x - a) ** 2,  # w*(a) = a
    ...     lambda w, a, x: (w * x - a) ** 2,  # at x = 2: a^2
    ...     cg(1))
    >>> value, grad = estimator(3.0, 3.0, 1.0, 2.0)
    >>> float(value), float(grad)
    (9.0, 6.0)
    """
    train_loss = arguments.scalar(train_loss, "train_loss")
    val_loss = arguments.scalar(val_loss, "val_loss")
    arguments.function(inverse, "inverse", "(matvec, v) -> H^-1 v, as cg(10) is")
    arguments.function(curvature, "curvature", "(loss, w, arch, batch, v) -> H v")

    def solve(matvec, v):
        if hasattr(inverse, "solve"):
            return inverse.solve(matvec, v)
        return inverse(matvec, v), {}

    def objective(w, arch, train_batch, val_batch, opt_state=None):
        del train_batch, opt_state
        return val_loss(w, arch, val_batch)

    def estimate(w, arch, train_batch, val_batch, opt_state):
        del opt_state
        matvec = lambda v: curvature(train_loss, w, arch, train_batch, v)
        value, (v, direct) = jax.value_and_grad(val_loss, (0, 1))(w, arch, val_batch)
        x, report = solve(matvec, v)
        arguments.like(x, v, "the value returned by the inverse", "w")
        indirect = mixed_vjp(train_loss, w, arch, train_batch, x)
        grad = jax.tree.map(jnp.subtract, direct, indirect)
        return Hypergradient(value, grad, report)

    def solution(w, arch, train_batch, val_batch, opt_state):
        del opt_state
        matvec = lambda v: curvature(train_loss, w, arch, train_batch, v)
        slope = jax.grad(train_loss)(w, arch, train_batch)
        v = jax.grad(val_loss)(w, arch, val_batch)
        x, report = solve(matvec, v)
        exact = hvp(train_loss, w, arch, train_batch, x)
        return Solution(slope, v, matvec(v), x, matvec(x), exact, report)

    name = f"implicit_{_name(inverse)}"
    if curvature is not hvp:
        name += f"_{_name(curvature)}"
    cost = 3 + 2 * getattr(inverse, "products", 1)
    return Estimator(
        name, objective, estimate, cost, True, System(solution, inverse, curvature)
    )


def _name(function: Callable) -> str:
    name = getattr(function, "name", getattr(function, "__name__", "own"))
    return "own" if name == "<lambda>" else name


def _scan(step: Callable, carry, batches, steps: int, remat: bool):
    """The last carry of lax.scan; with `remat` in segments of about sqrt(steps)."""
    through = lambda n: lambda c, part: (lax.scan(step, c, part, n)[0], None)
    if not remat:
        return through(steps)(carry, batches)[0]
    size = math.isqrt(steps - 1) + 1
    count, rest = divmod(steps, size)
    whole = count * size
    parts = jax.tree.map(
        lambda leaf: leaf[:whole].reshape(count, size, *leaf.shape[1:]), batches
    )
    carry, _ = lax.scan(jax.checkpoint(through(size)), carry, parts, count)
    last = jax.tree.map(lambda leaf: leaf[whole:], batches)
    return jax.checkpoint(through(rest))(carry, last)[0]
