"""Maximum-likelihood guided parameter search (MGS), the optimiser of ZARTS-MGS.

Wang et al., "ZARTS: On Zero-order Optimization for Neural Architecture Search",
NeurIPS 2022, section 4.2; Welleck and Cho, arXiv 2006.03158.

The update is the mean of u under p(u) ~ exp(-(L(x + u) - L(x)) / tau) (eq. 5),
estimated from N draws of a proposal q by self-normalised importance sampling (eq. 8):

    u* = sum_i c_i u_i / sum_j c_j,    log c_i = -L(x + u_i) / tau - log q(u_i)

L(x) and the constants of q cancel in the ratio; the weights are computed in log space.
With m = -guide_scale guide the proposal is one of

    mixture   q = (1 - lam) N(m, s^2 I) + lam N(0, s^2 I)
    sum       u = (1 - lam) N(m, s^2 I) + lam N(0, s^2 I), so
              q = N((1 - lam) m, ((1 - lam)^2 + lam^2) s^2 I)

Deviations:
  * The authors' text has the mixture. Their code adds one draw of each component and
    weights the sum by neither density. Here both proposals have their exact density.
  * In that code the density is in effect a constant (a slip of precedence and a floor
    of 1e-4), so it ran without the correction 1/q: `weights="likelihood"`. In many
    dimensions log q varies by sqrt(d / 2) between draws, about 10 for alpha of the
    DARTS space, and `weights="importance"`, the printed equation, then picks the least
    likely draw almost whatever the losses are.
  * A draw that is not finite, or whose loss is not finite, has weight 0. If all weights
    are 0, x stays.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from nasjax.core import arguments
from nasjax.core.trees import ravel
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


class MGSAux(NamedTuple):
    """directions: draws u [N, d]; log_q: their log density [N], up to a constant."""

    directions: Array
    log_q: Array


def mgs(
    samples: int,
    spread: Schedule,
    temperature: float,
    mixture: float = 0.0,
    weights: str = "importance",
    guide_scale: Schedule = 1.0,
    proposal: str = "mixture",
) -> ZerothOrder:
    """MGS over any pytree of floating-point arrays.

    In addition to the metrics of `summary` there is `effective_samples`,
    1 / sum_i c_i^2 of the normalised c: N if all draws have equal weights, 1 if one has
    all the weight.

    Args:
      samples: N.
      spread: standard deviation s of the proposal, or a schedule: updates so far -> s.
      temperature: tau, in units of the loss.
      mixture: lam in [0, 1], share of the draws (for "sum": of each draw) that is
        centred at 0 instead of m.
      weights: "importance" (eq. 8) or "likelihood" (c = p alone, the effect of
        the released code).
      guide_scale: factor between the guide and m, like a learning rate; or a schedule.
      proposal: "mixture" or, as the released code draws, "sum".

    Raises:
      ValueError: a setting is out of its range; the guide is not like x.

    >>> method = mgs(samples=64, spread=0.1, temperature=0.1, weights="likelihood")
    >>> x, key = jnp.ones(3), jax.random.key(0)
    >>> state = method.init(x, key)
    >>> proposal = method.propose(state, x, key)
    >>> losses = jax.vmap(lambda x: jnp.sum(x**2))(proposal.candidates)
    >>> x, state, metrics = method.update(state, x, proposal, losses)
    >>> bool(jnp.sum(x**2) < 3)
    True
    """
    arguments.count(samples, "samples")
    arguments.positive(spread, "spread")
    arguments.positive(temperature, "temperature")
    if not 0 <= mixture <= 1:
        raise ValueError(f"mixture is {mixture!r}; expected a share in [0, 1].")
    arguments.choice(weights, "weights", "importance", "likelihood")
    arguments.choice(proposal, "proposal", "mixture", "sum")
    # The sum is a mixture of one component with a smaller mean and spread.
    summed = proposal == "sum"
    share = 0.0 if summed else mixture
    mean_factor = 1 - mixture if summed else 1.0
    spread_factor = math.hypot(1 - mixture, mixture) if summed else 1.0

    def propose(state: State, x, key: Array, guide=None) -> Proposal:
        flat, unravel = ravel(x)
        mean = jnp.zeros_like(flat)
        if guide is not None:
            arguments.like(guide, x, "guide", "x")
            scale = mean_factor * scheduled(guide_scale, state, flat.dtype)
            mean = -scale * ravel(guide, "guide")[0].astype(flat.dtype)
        s = spread_factor * jnp.maximum(scheduled(spread, state, flat.dtype), 1e-8)
        noise_key, choice_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (samples, flat.size), flat.dtype)
        guided = jax.random.bernoulli(choice_key, 1 - share, (samples,))[:, None]
        u = jnp.where(guided, mean[None], 0) + s * noise
        from_mean = noise - jnp.where(guided, 0, mean[None] / s)  # (u - m) / s
        from_zero = noise + jnp.where(guided, mean[None] / s, 0)  # u / s
        log_q = jnp.logaddexp(
            jnp.log1p(-share) - jnp.square(from_mean).sum(1) / 2,
            jnp.log(jnp.asarray(share, flat.dtype)) - jnp.square(from_zero).sum(1) / 2,
        )
        return Proposal(jax.vmap(unravel)(flat[None] + u), MGSAux(u, log_q))

    def update(state: State, x, proposal: Proposal, losses: Array):
        flat, unravel = ravel(x)
        u, log_q = proposal.aux
        losses = measured(losses, samples, flat.dtype)
        # Draws from a guide that is not finite may have a finite loss.
        kept = jnp.isfinite(losses) & jnp.isfinite(log_q) & jnp.isfinite(u).all(1)
        losses = jnp.where(kept, losses, jnp.nan)
        log_q = log_q.astype(losses.dtype)
        density = log_q if weights == "importance" else jnp.zeros_like(log_q)
        c = importance_weights(losses, density, temperature)
        step = jnp.where(c[:, None] > 0, c[:, None].astype(u.dtype) * u, 0).sum(0)
        effective = jnp.square(c.sum()) / jnp.maximum(jnp.square(c).sum(), 1e-30)
        metrics = summary(losses, kept, step, effective_samples=effective)
        return unravel(flat + step), State(state.updates + 1), metrics

    return ZerothOrder(start, propose, update, samples)


def importance_weights(losses: Array, log_q: Array, temperature: float) -> Array:
    """The normalised weights c_i / sum_j c_j of eq. 8. All zero if no loss is finite.

    Args:
      losses: L(x + u_i) [N].
      log_q: log density [N] of each draw, up to a constant.
      temperature: tau.

    >>> importance_weights(jnp.array([0.0, 1.0, jnp.inf]), jnp.zeros(3), 1.0).tolist()
    [0.7310585975646973, 0.2689414322376251, 0.0]
    """
    finite = jnp.isfinite(losses)
    log_c = jnp.where(finite, -jnp.where(finite, losses, 0) / temperature - log_q, 0)
    c = jax.nn.softmax(log_c, where=finite)
    return jnp.where(finite, c, 0)
