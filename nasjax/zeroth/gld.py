"""GradientLess Descent (GLD), the direct search of ZARTS-GLD.

Golovin et al., "Gradientless Descent: High-Dimensional Zeroth-Order Optimization", ICLR
2020, arXiv 1911.06317, Algorithm 1; Wang et al., "ZARTS", NeurIPS 2022, section 4.3.

One direction is drawn for each radius of a ladder from R down to r. x moves to the best
among these points and x itself (eq. 10):

    u_k uniform on the sphere of radius 2^-k R,    k = 0 .. floor(log2(R / r))
    x <- argmin { L(y) : y = x, x + u_0, x + u_1, ... }

The method only compares losses: any increasing function of the loss gives the same
path.

Deviations:
  * As in ZARTS' released code, but in neither text, `groups="leaf"` draws the part of
    each leaf (there: each type of cell) at the full radius.
  * Golovin et al. draw from a ball (`distribution="ball"`), ZARTS from its surface.
  * That code takes the loss at x without inner training steps, and can step to a worse
    point; here x is evaluated like the other candidates.
  * A candidate whose loss is not finite is never chosen. If the loss at x itself is not
    finite, x moves to the best candidate whose loss is finite.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nasjax.core import arguments
from nasjax.core.trees import ravel
from nasjax.zeroth import sampling
from nasjax.zeroth.base import (
    Proposal,
    State,
    ZerothOrder,
    measured,
    start,
    summary,
)


class GLDAux(NamedTuple):
    """radii: radius [N] of each row; 0 for row 0, which is x itself."""

    radii: Array


def gld(
    max_radius: float,
    min_radius: float,
    distribution: str = "sphere",
    groups: str = "leaf",
) -> ZerothOrder:
    """GLD over any pytree of floating-point arrays. It ignores a guide.

    In addition to the metrics of `summary` there are `radius`, the chosen radius, 0
    when x stays, and `index`, the chosen row.

    Args:
      max_radius: R.
      min_radius: r, at most R. N counts floor(log2(R / r)) + 1 radii and x itself.
      distribution: "sphere" of the radius, or the "ball" within it.
      groups: "leaf": the radius holds for each leaf by itself; "joint": for all leaves
        together.

    Raises:
      ValueError: a setting is out of its range.

    >>> method = gld(max_radius=1.0, min_radius=0.1)
    >>> x, key = jnp.ones(3), jax.random.key(0)
    >>> state = method.init(x, key)
    >>> proposal = method.propose(state, x, key)
    >>> proposal.aux.radii.tolist()
    [0.0, 1.0, 0.5, 0.25, 0.125]
    >>> losses = jnp.array([2.0, 3.0, jnp.nan, 1.0, 4.0])
    >>> x, state, metrics = method.update(state, x, proposal, losses)
    >>> float(metrics["radius"]), bool((x == proposal.candidates[3]).all())
    (0.25, True)
    """
    arguments.positive(max_radius, "max_radius")
    arguments.positive(min_radius, "min_radius")
    if min_radius > max_radius:
        raise ValueError(
            f"min_radius is {min_radius!r}; expected at most max_radius, {max_radius!r}."
        )
    arguments.choice(distribution, "distribution", "sphere", "ball")
    arguments.choice(groups, "groups", "leaf", "joint")
    draw = {"sphere": sampling.sphere, "ball": sampling.ball}[distribution]
    halvings = math.log2(max_radius) - math.log2(min_radius)
    # The margin keeps the last radius where R / r is a power of two but for rounding.
    ladder = max_radius * 0.5 ** np.arange(math.floor(halvings + 1e-9) + 1)
    rows = len(ladder) + 1

    def propose(state: State, x, key: Array, guide=None) -> Proposal:
        del state, guide
        flat, unravel = ravel(x)
        u = draw(key, len(ladder), sampling.group_sizes(x, groups), flat.dtype)
        moves = jnp.concatenate([jnp.zeros_like(u[:1]), u])
        radii = jnp.asarray([0.0, *ladder], flat.dtype)
        candidates = jax.vmap(unravel)(flat[None] + radii[:, None] * moves)
        return Proposal(candidates, GLDAux(radii))

    def update(state: State, x, proposal: Proposal, losses: Array):
        before, _ = ravel(x)
        losses = measured(losses, rows, before.dtype)
        finite = jnp.isfinite(losses)
        best = jnp.argmin(jnp.where(finite, losses, jnp.inf))  # first of ties: x
        x = jax.tree.map(lambda rows: rows[best], proposal.candidates)
        metrics = summary(
            losses,
            finite,
            ravel(x)[0] - before,
            radius=proposal.aux.radii[best],
            index=best,
        )
        return x, State(state.updates + 1), metrics

    return ZerothOrder(start, propose, update, rows)
