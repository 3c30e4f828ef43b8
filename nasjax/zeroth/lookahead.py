"""The objective of ZARTS: validation loss after M inner steps from the current weights.

Wang et al., "ZARTS", NeurIPS 2022, Algorithm 1: for every candidate alpha the weights
w*(alpha) are estimated by M descent steps on the training loss, then thrown away.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from nasjax.core import arguments


def lookahead(train_loss: Callable, val_loss: Callable, optimizer) -> Callable:
    """L(alpha) = L_val(w_M(alpha), alpha).

    M = 0 is DARTS' first-order look-ahead L_val(w, alpha). M = 1 with the current state
    of w's optimiser is its second-order look-ahead, the objective of
    `hypergrad.unrolled`.

    Args:
      train_loss: (w, arch, batch) -> scalar, descended.
      val_loss: (w, arch, batch) -> scalar, returned.
      optimizer: anything with optax's init and update.

    Returns:
      objective(arch, w, train_batches, val_batch, opt_state=None) -> scalar. The leaves
      of train_batches have a leading axis [M]. Every call starts the optimiser from
      opt_state; None starts it afresh, as ZARTS does. w and opt_state are not changed:
      the results of the inner steps are discarded. Use vmap over arch: all candidates
      then share the batches.

    >>> import optax, jax.numpy as jnp
    >>> loss = lambda w, a, batch: (w - a) ** 2
    >>> objective = lookahead(loss, loss, optax.sgd(0.25))
    >>> float(objective(1.0, jnp.array(0.0), jnp.zeros(2), None))  # w: 0, 0.5, 0.75
    0.0625
    """

    def objective(arch, w, train_batches, val_batch, opt_state=None):
        w = jax.tree.map(jnp.asarray, w)
        fresh = optimizer.init(w)
        if opt_state is not None:
            arguments.like(opt_state, fresh, "opt_state", "optimizer.init(w)")

        def step(carry, batch):
            w, state = carry
            grads = jax.grad(train_loss)(w, arch, batch)
            updates, state = optimizer.update(grads, state, w)
            return (jax.tree.map(_moved, w, updates), state), None

        start = (w, fresh if opt_state is None else opt_state)
        (w, _), _ = jax.lax.scan(step, start, train_batches)
        return val_loss(w, arch, val_batch)

    return objective


def _moved(p, update):
    return jnp.asarray(p + update, p.dtype)
