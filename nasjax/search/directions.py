"""Directions of alpha that algorithms share."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from nasjax.hypergrad import Estimator
from nasjax.search.base import Direction, SearchState
from nasjax.zeroth import ZerothOrder

FORWARD = 1 / 3  # cost of a loss in evaluations of its gradient


def gradient(
    estimator: Estimator, optimizer: optax.GradientTransformation
) -> Direction:
    """Descend a hypergradient, estimated on one training and one validation batch."""

    def init(arch, key):
        del key
        return optimizer.init(arch)

    def step(state: SearchState, train_batches, val_batch, key):
        del key
        train_batch = jax.tree.map(lambda leaf: leaf[0], train_batches)
        found = estimator(state.w, state.arch, train_batch, val_batch, state.weight_opt)
        updates, opt = optimizer.update(found.grad, state.arch_opt, state.arch)
        arch = optax.apply_updates(state.arch, updates)
        report = {k: jnp.asarray(v, jnp.float32) for k, v in found.report.items()}
        metrics = {
            "val_loss": found.value,
            "hypergrad_norm": optax.tree.norm(found.grad),
        }
        return arch, opt, {**metrics, **report}

    return Direction(estimator.name, init, step, estimator.cost)


def zero_order(
    name: str,
    method: ZerothOrder,
    objective: Callable,
    samples: int,
    inner_steps: int,
    guide: Estimator | None = None,
    chunk: int = 0,
) -> Direction:
    """Move alpha by a zero-order method; its candidates are evaluated under one vmap.

    Args:
      name: of the estimator.
      method: proposes and weighs candidates.
      objective: (state, arch, train_batches, val_batch) -> scalar, minimised.
      samples: N, candidates of a step.
      inner_steps: M, training batches that the objective takes.
      guide: its gradient is handed to the method.
      chunk: how many candidates are evaluated at once; 0 for all. Fewer take less
        memory, and no longer on a CPU.
    """

    def step(state: SearchState, train_batches, val_batch, key):
        metrics, direction = {}, None
        if guide is not None:
            value, direction = guide(state.w, state.arch, None, val_batch)
            metrics = {"val_loss": value, "guide_norm": optax.tree.norm(direction)}
        proposal = method.propose(state.arch_opt, state.arch, key, direction)
        evaluate = lambda arch: objective(state, arch, train_batches, val_batch)
        losses = _mapped(evaluate, proposal.candidates, chunk)
        arch, opt, seen = method.update(state.arch_opt, state.arch, proposal, losses)
        return arch, opt, {**metrics, **seen}

    cost = samples * (inner_steps + FORWARD) + (guide.cost if guide else 0)
    return Direction(name, method.init, step, cost, inner_steps)


def _mapped(evaluate: Callable, candidates, chunk: int):
    """evaluate(candidate) for all of them, `chunk` at once."""
    count = len(jax.tree.leaves(candidates)[0])
    if not 0 < chunk < count:
        return jax.vmap(evaluate)(candidates)
    if chunk == 1:
        return jax.lax.map(evaluate, candidates)
    return jax.lax.map(evaluate, candidates, batch_size=chunk)
