"""Estimators of d L_val(w*(alpha), alpha) / d alpha."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Hypergradient(NamedTuple):
    """value: the validation loss, scalar; grad: a pytree like arch."""

    value: Array
    grad: Any


class Estimator(NamedTuple):
    """A hypergradient estimator; call it.

    Attributes:
      name: what logs and results call it.
      objective: the function whose total derivative it claims.
      estimate: (w, arch, train_batch, val_batch, opt_state) -> Hypergradient.
    """

    name: str
    objective: Callable
    estimate: Callable

    def __call__(
        self, w, arch, train_batch, val_batch, opt_state=None
    ) -> Hypergradient:
        return self.estimate(w, arch, train_batch, val_batch, opt_state)


def first_order(val_loss: Callable) -> Estimator:
    """grad_alpha L_val(w, alpha), with w taken as independent of alpha (DARTS, xi = 0).

    Costs one gradient evaluation. Liu et al., "DARTS", ICLR 2019, section 2.3.

    Args:
      val_loss: (w, arch, batch) -> scalar.

    >>> import jax.numpy as jnp
    >>> estimator = first_order(lambda w, a, batch: a * w - 2 * a + 1)
    >>> [float(x) for x in estimator(-2.0, 2.0, None, None)]
    [-7.0, -4.0]
    """

    def estimate(w, arch, train_batch, val_batch, opt_state):
        del train_batch, opt_state
        value, grad = jax.value_and_grad(val_loss, 1)(w, arch, val_batch)
        return Hypergradient(value, grad)

    return Estimator("first_order", val_loss, estimate)


def unrolled(train_loss: Callable, val_loss: Callable, optimizer) -> Estimator:
    """d L_val(w', alpha) / d alpha, w' one optimiser step from w (DARTS, eq. 7).

    Exact: with v = grad_w' L_val(w', alpha), pulled back through the optimiser to c,
    the cotangent of the gradient g = grad_w L_train(w, alpha) it was given,

        grad_alpha L_val(w', alpha) + d/de grad_alpha L_train(w + e c, alpha) at e = 0,

    the last term a forward-mode derivative of a reverse-mode gradient. Costs two
    gradient evaluations and one such product, about two more.

    Args:
      train_loss, val_loss: (w, arch, batch) -> scalar.
      optimizer: anything with optax's init and update. `opt_state` is its live state;
        None starts it afresh.

    >>> import optax, jax.numpy as jnp
    >>> estimator = unrolled(
    ...     lambda w, a, batch: 0.5 * (w - a) ** 2,  # w' = w - 0.1 (w - a)
    ...     lambda w, a, batch: w,                   # d w' / d a = 0.1
    ...     optax.sgd(0.1))
    >>> [round(float(x), 6) for x in estimator(jnp.ones(()), jnp.zeros(()), None, None)]
    [0.9, 0.1]
    """

    def stepped(gradient, w, opt_state):
        updates, _ = optimizer.update(gradient, opt_state, w)
        return jax.tree.map(lambda p, u: p + u, w, updates)

    def objective(w, arch, train_batch, val_batch, opt_state=None):
        state = optimizer.init(w) if opt_state is None else opt_state
        gradient = jax.grad(train_loss)(w, arch, train_batch)
        return val_loss(stepped(gradient, w, state), arch, val_batch)

    def estimate(w, arch, train_batch, val_batch, opt_state):
        state = optimizer.init(w) if opt_state is None else opt_state
        gradient = jax.grad(train_loss)(w, arch, train_batch)
        after, pull = jax.vjp(lambda g: stepped(g, w, state), gradient)
        value, (v, direct) = jax.value_and_grad(val_loss, (0, 1))(
            after, arch, val_batch
        )
        arch_gradient = lambda w: jax.grad(train_loss, 1)(w, arch, train_batch)
        _, indirect = jax.jvp(arch_gradient, (w,), pull(v))
        return Hypergradient(value, jax.tree.map(jnp.add, direct, indirect))

    return Estimator("unrolled", objective, estimate)
