"""How sensitive a loss is to its argument, and what importance weights are worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from nasjax.analysis.planes import evaluator
from nasjax.core.arguments import choice, count, positive
from nasjax.zeroth import importance_weights


class Condition(NamedTuple):
    """A condition number.

    Attributes:
      number: Q, the largest of the ratios.
      ratios: of all directions, [K].
      loss: at the centre.
    """

    number: float
    ratios: np.ndarray
    loss: float


def condition_number(
    objective: Callable,
    x: Any,
    key: Array,
    *arguments: Any,
    directions: int = 50,
    norm: float = 0.01,
    chunk: int = 1,
) -> Condition:
    """Q = max_i |L(x + D_i) - L(x)| |x| / (|D_i| |L(x)|), of K random directions D.

    Wang et al., "ZARTS", arXiv 2110.04743, eq. 9. D is Gaussian, scaled to a length.
    Deviation: the released code compares L after inner steps with L(x) without; here
    both are the same objective.

    Args:
      objective: (x, *arguments) -> scalar.
      x: a pytree of floating-point arrays.
      key: of the directions.
      *arguments: of the objective.
      directions: K.
      norm: |D_i|, over all leaves together.
      chunk: points that are evaluated at once.

    Raises:
      ValueError: a setting is out of its range; L(x) is 0.

    >>> found = condition_number(lambda x: x @ x, jnp.ones(2), jax.random.key(0),
    ...     norm=1e-2)  # at most |2 x . D + D . D| |x| / (|D| |x|^2) = 2 + |D| / |x|
    >>> 1.9 < found.number < 2.01
    True
    """
    count(directions, "directions")
    positive(norm, "norm")
    flat, unravel = ravel_pytree(x)
    moves = jax.random.normal(key, (directions, flat.size), flat.dtype)
    moves *= norm / jnp.linalg.norm(moves, axis=1, keepdims=True)
    points = flat[None] + jnp.concatenate([jnp.zeros_like(moves[:1]), moves])
    losses = evaluator(objective, chunk)(jax.vmap(unravel)(points), *arguments)
    base, *rest = losses.astype(np.float64)
    if base == 0:
        raise ValueError("L(x) is 0, so that no change is a multiple of it.")
    scale = float(jnp.linalg.norm(flat)) / (norm * abs(base))
    ratios = np.abs(np.array(rest) - base) * scale
    return Condition(float(ratios.max()), ratios, float(base))


class WeightReport(NamedTuple):
    """What self-normalised importance weights c [N] are worth.

    Attributes:
      weights: c, of sum 1.
      effective: effective sample size 1 / sum c^2, from 1 (one has it all) to N.
      deviation: sqrt(mean (N c - 1)^2), which ZARTS' code logs; 0 for equal weights,
        sqrt(N - 1) if one has it all, and sqrt(N / effective - 1) always.
      log_q_spread: standard deviation of log q; sqrt(d / 2) for a normal proposal in d
        dimensions, far more than losses / tau may tell apart.
      log_q_rank: place of the heaviest draw if all are sorted by q; 1 is the least
        likely one.
      loss_rank: likewise by loss; 1 is the best.
    """

    weights: np.ndarray
    effective: float
    deviation: float
    log_q_spread: float
    log_q_rank: int
    loss_rank: int


def weight_report(
    losses: Array, log_q: Array, temperature: float, weights: str = "importance"
) -> WeightReport:
    """Diagnostics of MGS' weights (Wang et al., "ZARTS", eq. 8).

    Args:
      losses: [N], of the candidates.
      log_q: [N], log density of the proposal, up to a constant.
      temperature: tau.
      weights: "importance", c = exp(-L / tau) / q; "likelihood", without q.

    Raises:
      ValueError: a setting is out of its range.

    >>> even = weight_report(jnp.zeros(4), jnp.zeros(4), 1.0)
    >>> even.effective, even.deviation
    (4.0, 0.0)
    >>> one = weight_report(jnp.zeros(4), jnp.array([0.0, -99.0, 0, 0]), 1.0)
    >>> one.effective, one.log_q_rank, round(one.deviation**2, 5)
    (1.0, 1, 3.0)
    """
    positive(temperature, "temperature")
    choice(weights, "weights", "importance", "likelihood")
    losses, log_q = jnp.asarray(losses), jnp.asarray(log_q)
    density = log_q if weights == "importance" else jnp.zeros_like(log_q)
    c = np.asarray(importance_weights(losses, density, temperature), np.float64)
    heaviest = int(c.argmax())
    rank = lambda values: 1 + int((values < values[heaviest]).sum())
    return WeightReport(
        weights=c,
        effective=float(1 / np.square(c).sum()),
        deviation=float(np.sqrt(np.square(len(c) * c - 1).mean())),
        log_q_spread=float(jnp.std(log_q)),
        log_q_rank=rank(log_q),
        loss_rank=rank(losses),
    )
