"""Directions of alpha that algorithms share: gradient descent and zero-order moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nasjax.core.limits import Limit, Range, at_least
from nasjax.engine import optim
from nasjax.hypergrad import Estimator
from nasjax.search.base import Direction, Remark, SearchState
from nasjax.search.bilevel import Bilevel
from nasjax.zeroth import ZerothOrder

FORWARD = 1 / 3  # cost of a loss in evaluations of its gradient
SHORT = ("embedded", "small")  # scales of searches that take minutes on a CPU


def _weights(problem: Bilevel, state: SearchState, train_batch):
    del problem, train_batch
    return state.w, state.weight_opt


@dataclasses.dataclass(frozen=True)
class Descent:
    """Descends a hypergradient, estimated on training batches and a validation batch.

    Attributes:
      estimator: `Bilevel` -> `Estimator`.
      optimizer: the optimiser of alpha.
      order: 1 or 2 if the hypergradient is the first- or second-order hypergradient of
        DARTS, to which further levels can be added; 0: any other hypergradient.
      differences: True if the products of the hypergradient are finite differences.
      solution: (problem, state, train_batch) -> (w, opt_state), the arguments of the
        estimator.
      batches: number of training batches; above 1 the estimator takes them as one batch
        whose leaves have a leading axis [batches].
      held: as in `Direction`, for estimators with a loop.
      remark: as in `Direction`; the metrics have the report of the estimator.
    """

    estimator: Callable[[Bilevel], Estimator]
    optimizer: optax.GradientTransformation
    order: int = 0
    differences: bool = False
    solution: Callable = _weights
    batches: int = 1
    held: float = 0.0
    remark: Remark = lambda metrics: None

    def __call__(self, problem: Bilevel) -> Direction:
        """The direction on a problem."""
        estimator = self.estimator(problem)

        def init(arch, key):
            del key
            return self.optimizer.init(arch)

        def step(state: SearchState, train_batches, val_batch, key):
            del key
            train_batch = train_batches
            if self.batches == 1:
                train_batch = jax.tree.map(lambda leaf: leaf[0], train_batches)
            w, weight_opt = self.solution(problem, state, train_batch)
            found = estimator(w, state.arch, train_batch, val_batch, weight_opt)
            updates, opt = self.optimizer.update(found.grad, state.arch_opt, state.arch)
            arch = optax.apply_updates(state.arch, updates)
            report = {k: jnp.asarray(v, jnp.float32) for k, v in found.report.items()}
            metrics = {
                "val_loss": found.value,
                "hypergrad_norm": optax.tree.norm(found.grad),
            }
            return arch, opt, {**metrics, **report}

        return Direction(
            estimator.name, init, step, estimator.cost, self.batches,
            held=self.held, remark=self.remark,
        )  # fmt: skip


def adam(settings: Any) -> optax.GradientTransformation:
    """Adam for alpha, with the fields of `adam_settings`."""
    return optim.adam(settings.rate, settings.b1, settings.b2, settings.weight_decay)


def adam_settings(scale: str) -> dict[str, Any]:
    """The default settings of a search that moves alpha by Adam.

    scale: "embedded", "small", "paper" or "imagenet", see `experiment.defaults`.
    """
    return {
        "every": 1,  # weight steps between two moves of alpha
        "rate": 3e-2 if scale in SHORT else 3e-4,  # Adam's learning rate
        "b1": 0.5,  # decay rate of Adam's first moment
        "b2": 0.999,  # decay rate of Adam's second moment
        "weight_decay": 1e-3,  # L2, inside Adam as in PyTorch
    }


ADAM_LIMITS: dict[str, Limit] = {
    "every": at_least(1),
    "rate": at_least(0.0),
    "b1": Range(0.0, 1.0),
    "b2": Range(0.0, 1.0),
    "weight_decay": at_least(0.0),
}


def zero_order(
    problem: Bilevel,
    name: str,
    method: ZerothOrder,
    objective: Callable,
    inner_steps: int = 0,
    inner_part: str = "weights",
    guide: Estimator | None = None,
    chunk: int = 0,
) -> Direction:
    """The direction of a zero-order method, with candidates evaluated under one vmap.

    Args:
      problem: `Bilevel.split` of the problem of the search. Its devices divide either
        the candidates, with full batches on each device, or the batches. Batches can
        use more devices than there are candidates.
      name: name of the estimator.
      method: the zero-order method, which proposes and weights candidates.
      objective: (state, arch, train_batches, val_batch) -> scalar to minimise.
      inner_steps: M, number of training batches that the objective takes.
      inner_part: "weights" or "arch", the half of the data with the training batches.
      guide: estimator whose gradient the method takes, or None.
      chunk: number of candidates that a device evaluates at once, see
        `devices.in_chunks`.
    """

    def step(state: SearchState, train_batches, val_batch, key):
        metrics: dict[str, Any] = {}
        direction = None
        if guide is not None:
            value, direction = guide(state.w, state.arch, None, val_batch)
            metrics = {"val_loss": value, "guide_norm": optax.tree.norm(direction)}
        proposal = method.propose(state.arch_opt, state.arch, key, direction)
        losses = problem.devices.candidates(
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
    split = problem.devices.split
    return Direction(
        name, method.init, step, cost, inner_steps, inner_part, split, held
    )
