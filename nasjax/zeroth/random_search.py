"""Random search (RS), the multi-point gradient estimate of ZARTS-RS.

Wang et al., "ZARTS: On Zero-order Optimization for Neural Architecture Search",
NeurIPS 2022, section 4.1 and Table 1; Liu et al., "A Primer on Zeroth-Order
Optimization", IEEE Signal Processing Magazine 2020.

With directions u_1 .. u_n from a spherically symmetric distribution (eq. 4)

    g = phi(d) / (2 mu n) sum_i [L(x + mu u_i) - L(x - mu u_i)] u_i
    x <- x - rate g

with phi(d) = 1 for N(0, I) and phi(d) = d for the unit sphere: for a linear L the mean
of g is the gradient. One-sided, with n + 1 losses instead of 2 n,

    g = phi(d) / (mu n) sum_i [L(x + mu u_i) - L(x)] u_i.

Deviations:
  * As in the released code, but not in the text, `groups="leaf"` has one unit sphere
    for each leaf (there: each type of cell), with the leaf's own d. Directions in that
    code are not exactly unit vectors, because it reshapes where it should transpose.
  * For one-sided differences x is evaluated like all candidates; the released code
    takes the loss at x without inner training steps.
  * A direction counts only if both its losses are finite; n is the number that count.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nasjax.core import arguments
from nasjax.core.trees import ravel
from nasjax.zeroth import sampling
from nasjax.zeroth.base import (
    Proposal,
    Schedule,
    State,
    ZerothOrder,
    measured,
    scheduled,
    start,
    summary,
)


class RandomSearchAux(NamedTuple):
    """The finite differences of a proposal.

    Attributes:
      directions: directions u [n, d].
      pairs: rows [n, 2] of the candidates whose losses are subtracted.
      scale: phi(d) over the distance of the two rows in units of u, [d].
    """

    directions: Array
    pairs: Array
    scale: Array


def random_search(
    samples: int,
    radius: Schedule,
    rate: Schedule,
    distribution: str = "sphere",
    antithetic: bool = True,
    groups: str = "leaf",
) -> ZerothOrder:
    """RS over any pytree of floating-point arrays. It ignores a guide.

    Antithetic pairs are neighbouring rows of the candidates. One-sided, row 0 is x.

    Args:
      samples: n, number of directions; there are 2 n candidates, one-sided n + 1.
      radius: mu, or a schedule: updates so far -> mu.
      rate: learning rate of x, or a schedule.
      distribution: "sphere" or "normal".
      antithetic: True: central differences; False: one-sided (forward) differences.
      groups: "leaf": one unit sphere for each leaf; "joint": one for all of x. It has
        no effect for "normal".

    Raises:
      ValueError: a setting is out of its range.

    >>> method = random_search(samples=64, radius=0.01, rate=0.25)
    >>> x, key = jnp.ones(3), jax.random.key(0)
    >>> state = method.init(x, key)
    >>> proposal = method.propose(state, x, key)
    >>> losses = jax.vmap(lambda x: jnp.sum(x**2))(proposal.candidates)
    >>> x, state, metrics = method.update(state, x, proposal, losses)
    >>> len(losses), bool(jnp.sum(x**2) < 1.5)
    (128, True)
    """
    arguments.count(samples, "samples")
    arguments.positive(radius, "radius")
    arguments.positive(rate, "rate")
    arguments.choice(distribution, "distribution", "sphere", "normal")
    arguments.choice(groups, "groups", "leaf", "joint")
    draw = {"sphere": sampling.sphere, "normal": sampling.normal}[distribution]
    if antithetic:
        pairs = np.arange(2 * samples).reshape(samples, 2)
    else:
        pairs = np.stack([np.arange(samples) + 1, np.zeros(samples, int)], 1)
    rows = int(pairs.max()) + 1

    def propose(state: State, x, key: Array, guide=None) -> Proposal:
        del guide
        flat, unravel = ravel(x)
        sizes = sampling.group_sizes(x, groups)
        u = draw(key, samples, sizes, flat.dtype)
        if antithetic:
            moves = jnp.stack([u, -u], 1).reshape(rows, -1)
        else:
            moves = jnp.concatenate([jnp.zeros_like(u[:1]), u])
        mu = jnp.maximum(scheduled(radius, state, flat.dtype), 1e-8)
        phi = np.repeat(sizes, sizes)  # size of each coordinate's group
        if distribution == "normal":
            phi = np.ones_like(phi)
        scale = jnp.asarray(phi, flat.dtype) / (2 * mu if antithetic else mu)
        candidates = jax.vmap(unravel)(flat[None] + mu * moves)
        return Proposal(candidates, RandomSearchAux(u, jnp.asarray(pairs), scale))

    def update(state: State, x, proposal: Proposal, losses: Array):
        flat, unravel = ravel(x)
        losses = measured(losses, rows, flat.dtype)
        grad, kept = _estimate(proposal.aux, losses)
        step = -scheduled(rate, state, flat.dtype) * grad
        metrics = summary(losses, kept, step)
        return unravel(flat + step), State(state.updates + 1), metrics

    return ZerothOrder(start, propose, update, rows)


def gradient_estimate(proposal: Proposal, losses: Array) -> Any:
    """g of eq. 4, a pytree like x, for your own optimiser; 0 if no pair is finite.

    Args:
      proposal: a proposal of `random_search`.
      losses: losses [N] of its candidates.

    >>> method = random_search(1000, radius=0.1, rate=1.0, distribution="normal")
    >>> x, key = {"a": jnp.array([3.0, 4.0])}, jax.random.key(0)
    >>> proposal = method.propose(method.init(x, key), x, key)
    >>> losses = jax.vmap(lambda x: x["a"] @ x["a"])(proposal.candidates)
    >>> bool(jnp.allclose(gradient_estimate(proposal, losses)["a"], 2 * x["a"], atol=1))
    True
    """
    like_x = jax.tree.map(lambda rows: rows[0], proposal.candidates)
    flat, unravel = ravel(like_x)
    rows = len(jax.tree.leaves(proposal.candidates)[0])
    return unravel(_estimate(proposal.aux, measured(losses, rows, flat.dtype))[0])


def _estimate(aux: RandomSearchAux, losses: Array) -> tuple[Array, Array]:
    """g [d], and a mask [N] of the rows that it uses."""
    both = losses[aux.pairs]
    finite = jnp.isfinite(both).all(1)
    difference = jnp.where(finite, both[:, 0] - both[:, 1], 0)
    count = jnp.maximum(finite.sum(dtype=losses.dtype), 1)
    weights = (difference / count).astype(aux.directions.dtype)
    uses = finite[:, None].astype(jnp.int32)
    kept = jnp.zeros(losses.shape, jnp.int32).at[aux.pairs].add(uses) > 0
    return aux.scale * (weights @ aux.directions), kept
