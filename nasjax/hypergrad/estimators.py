"""Estimators of d L_val(w*(alpha), alpha) / d alpha."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
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
