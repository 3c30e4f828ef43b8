"""Directions of alpha that algorithms share."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from nasjax.engine import parallel
from nasjax.hypergrad import Estimator
from nasjax.search.base import Direction, Problem, SearchState
from nasjax.zeroth import ZerothOrder

FORWARD = 1 / 3  # cost of a loss in evaluations of its gradient
SPLITS = ("candidates", "batch")


def _weights(state: SearchState, train_batch):
    return state.w, state.weight_opt


def gradient(
    estimator: Estimator,
    optimizer: optax.GradientTransformation,
    solution: Callable = _weights,
) -> Direction:
    """Descend a hypergradient, estimated on one training and one validation batch.

    Args:
      estimator: of the hypergradient.
      optimizer: of alpha.
      solution: (state, train_batch) -> w and opt_state, as the estimator takes them.
    """

    def init(arch, key):
        del key
        return optimizer.init(arch)

    def step(state: SearchState, train_batches, val_batch, key):
        del key
        train_batch = jax.tree.map(lambda leaf: leaf[0], train_batches)
        w, weight_opt = solution(state, train_batch)
        found = estimator(w, state.arch, train_batch, val_batch, weight_opt)
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
    problem: Problem,
    name: str,
    method: ZerothOrder,
    objective: Callable,
    inner_steps: int = 0,
    inner_part: str = "weights",
    guide: Estimator | None = None,
    chunk: int = 0,
    split: str = "candidates",
) -> Direction:
    """Move alpha by a zero-order method; its candidates are evaluated under one vmap.

    Args:
      problem: of the losses below; `problem.split(split)` of the search's.
      name: of the estimator.
      method: proposes and weighs candidates.
      objective: (state, arch, train_batches, val_batch) -> scalar, minimised.
      inner_steps: M, training batches that the objective takes.
      inner_part: the part of the data that these are drawn from.
      guide: its gradient is handed to the method.
      chunk: how many candidates a device evaluates at once, see `parallel.in_chunks`.
      split: "candidates", each device takes some of them and whole batches; "batch",
        each takes all of them and a part of every batch, which can employ more devices
        than there are candidates.
    """
    each = problem.candidates if split == "candidates" else parallel.in_chunks

    def step(state: SearchState, train_batches, val_batch, key):
        metrics, direction = {}, None
        if guide is not None:
            value, direction = guide(state.w, state.arch, None, val_batch)
            metrics = {"val_loss": value, "guide_norm": optax.tree.norm(direction)}
        proposal = method.propose(state.arch_opt, state.arch, key, direction)
        losses = each(
            lambda arch, at: objective(at[0], arch, *at[1:]),
            proposal.candidates,
            (state, train_batches, val_batch),
            chunk,
        )
        arch, opt, seen = method.update(state.arch_opt, state.arch, proposal, losses)
        return arch, opt, {**metrics, **seen}

    guided = guide.cost if guide else 0
    cost = method.samples * (inner_steps + FORWARD) + guided
    held = bool(inner_steps) + FORWARD + guided
    whole = split == "candidates"
    return Direction(
        name, method.init, step, cost, inner_steps, inner_part, whole, held
    )
