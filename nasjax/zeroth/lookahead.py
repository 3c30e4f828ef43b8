"""The objective of ZARTS: validation loss after M inner steps from the current weights.

Wang et al., "ZARTS", NeurIPS 2022, Algorithm 1: for every candidate alpha the weights
w*(alpha) are estimated by M descent steps on the training loss, then thrown away.
"""

from __future__ import annotations

from collections.abc import Callable

import jax


def lookahead(train_loss: Callable, val_loss: Callable, optimizer) -> Callable:
    """L(alpha) = L_val(w_M(alpha), alpha).

    Args:
      train_loss: (w, arch, batch) -> scalar, descended.
      val_loss: (w, arch, batch) -> scalar, returned.
      optimizer: anything with optax's init and update; its state starts fresh in every
        call and is discarded.

    Returns:
      objective(arch, w, train_batches, val_batch) -> scalar. The leaves of
      train_batches lead with [M]; M = 0 gives the first-order look-ahead L_val(w, arch).
      w is not changed. vmap over arch: all candidates share the batches.

    >>> import optax, jax.numpy as jnp
    >>> loss = lambda w, a, batch: (w - a) ** 2
    >>> objective = lookahead(loss, loss, optax.sgd(0.25))
    >>> float(objective(1.0, jnp.array(0.0), jnp.zeros(2), None))  # w: 0, 0.5, 0.75
    0.0625
    """

    def objective(arch, w, train_batches, val_batch):
        def step(carry, batch):
            w, state = carry
            grads = jax.grad(train_loss)(w, arch, batch)
            updates, state = optimizer.update(grads, state, w)
            return (jax.tree.map(lambda p, u: p + u, w, updates), state), None

        (w, _), _ = jax.lax.scan(step, (w, optimizer.init(w)), train_batches)
        return val_loss(w, arch, val_batch)

    return objective
