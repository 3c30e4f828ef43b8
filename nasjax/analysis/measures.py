"""The sensitivity of a loss to its argument, and diagnostics of importance weights."""

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
      ratios: ratio of each direction, [K].
      loss: loss at the centre.
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

    Wang et al., "ZARTS", arXiv 2110.04743, eq. 9. D is Gaussian, of length `norm`.
    Deviation: the released code compares L after inner steps with L(x) without; here
    both are the same objective.

    Args:
      objective: (x, *arguments) -> scalar.
      x: a pytree of floating-point arrays.
      key: random key of the directions.
      *arguments: further arguments of the objective.
      directions: K, number of directions.
      norm: |D_i|, length of each direction over all leaves together.
      chunk: number of points that are evaluated at once.

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
        raise ValueError("L(x) is 0, and the condition number divides by it.")
    scale = float(jnp.linalg.norm(flat)) / (norm * abs(base))
    ratios = np.abs(np.array(rest) - base) * scale
    return Condition(float(ratios.max()), ratios, float(base))


class WeightReport(NamedTuple):
    """Diagnostics of self-normalised importance weights c [N].

    Attributes:
      weights: c [N], of sum 1.
      effective: effective sample size 1 / sum c^2, from 1 (one weight is 1) to N (all
        weights are equal).
      deviation: sqrt(mean (N c - 1)^2) = sqrt(N / effective - 1), which ZARTS' code
        logs; 0 for equal weights, sqrt(N - 1) if one weight is 1.
      log_q_spread: standard deviation of log q; sqrt(d / 2) for a normal proposal in d
        dimensions, which may far exceed the differences of losses / tau.
      log_q_rank: rank of the heaviest draw by q; 1 is the least likely draw.
      loss_rank: rank of the heaviest draw by loss; 1 is the least loss.
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
      losses: losses of the candidates, [N].
      log_q: log density of the proposal at the candidates, up to a constant, [N].
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
