"""Maximum-likelihood guided parameter search (MGS), the optimiser of ZARTS-MGS.

Wang et al., "ZARTS: On Zero-order Optimization for Neural Architecture Search",
NeurIPS 2022, section 4.2; Welleck and Cho, arXiv 2006.03158.

The update is the mean of u under p(u) ~ exp(-(L(x + u) - L(x)) / tau) (eq. 5),
estimated from N draws of a proposal q by self-normalised importance sampling (eq. 8):

    u* = sum_i c_i u_i / sum_j c_j,    log c_i = -L(x + u_i) / tau - log q(u_i)

L(x) and the constants of q cancel in the ratio; all is done in log space. The
proposal is the mixture q = (1 - lam) N(-guide, s^2 I) + lam N(0, s^2 I).

Deviations:
  * The authors' code adds one draw of each component where the text says a mixture;
    this is the mixture, with its exact density.
  * In that code the density is in effect a constant (a slip of precedence and a floor
    of 1e-4), so it ran without the correction 1/q: `weights="likelihood"`. In many
    dimensions log q varies by sqrt(d / 2) between draws, about 10 for alpha of the
    DARTS space, and `weights="importance"`, the printed equation, then picks the least
    likely draw almost whatever the losses are.
  * A draw whose loss is not finite gets no weight; if none is finite x stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from nasjax.zeroth.base import Proposal, ZerothOrder


class MGSState(NamedTuple):
    """updates: how many so far, what the spread's schedule is asked with."""

    updates: Array


class MGSAux(NamedTuple):
    """directions [N, d] and their log q [N], up to a constant."""

    directions: Array
    log_q: Array


def mgs(
    samples: int,
    spread: float | Callable[[Array], Array],
    temperature: float,
    mixture: float = 0.0,
    weights: str = "importance",
) -> ZerothOrder:
    """MGS over any pytree of floating-point arrays.

    Args:
      samples: N.
      spread: standard deviation s of the proposal, or a schedule: updates so far -> s.
      temperature: tau, in units of the loss.
      mixture: lam in [0, 1], share of the draws centred at 0 instead of at -guide.
      weights: "importance" (eq. 8) or "likelihood" (c = p alone, as the released code
        in effect runs).

    Raises:
      ValueError: a setting is out of its range.

    >>> method = mgs(samples=64, spread=0.1, temperature=0.1, weights="likelihood")
    >>> x, key = jnp.ones(3), jax.random.key(0)
    >>> state = method.init(x, key)
    >>> proposal = method.propose(state, x, key)
    >>> losses = jax.vmap(lambda x: jnp.sum(x**2))(proposal.candidates)
    >>> x, state, metrics = method.update(state, x, proposal, losses)
    >>> bool(jnp.sum(x**2) < 3)
    True
    """
    if samples < 1 or temperature <= 0 or not 0 <= mixture <= 1:
        raise ValueError(
            "MGS needs samples >= 1, temperature > 0 and mixture in [0, 1], but got "
            f"samples={samples}, temperature={temperature}, mixture={mixture}."
        )
    if weights not in ("importance", "likelihood"):
        raise ValueError(
            f"MGS weights must be 'importance' or 'likelihood', but got {weights!r}."
        )

    def init(x, key) -> MGSState:
        del x, key
        return MGSState(jnp.zeros((), jnp.int32))

    def propose(state: MGSState, x, key: Array, guide=None) -> Proposal:
        flat, unravel = ravel_pytree(x)
        mean = jnp.zeros_like(flat) if guide is None else -ravel_pytree(guide)[0]
        s = spread(state.updates) if callable(spread) else spread
        s = jnp.maximum(jnp.asarray(s, flat.dtype), 1e-8)
        noise_key, choice_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (samples, flat.size), flat.dtype)
        guided = jax.random.bernoulli(choice_key, 1 - mixture, (samples,))
        u = jnp.where(guided[:, None], mean[None], 0) + s * noise
        log_q = jnp.logaddexp(
            jnp.log1p(-mixture) - jnp.square((u - mean[None]) / s).sum(1) / 2,
            jnp.log(jnp.asarray(mixture, flat.dtype)) - jnp.square(u / s).sum(1) / 2,
        )
        return Proposal(jax.vmap(unravel)(flat[None] + u), MGSAux(u, log_q))

    def update(state: MGSState, x, proposal: Proposal, losses: Array):
        u, log_q = proposal.aux
        log_q = log_q if weights == "importance" else jnp.zeros_like(log_q)
        c = importance_weights(losses, log_q, temperature)
        step = jnp.sum(c[:, None] * jnp.where(c[:, None] > 0, u, 0), 0)
        flat, unravel = ravel_pytree(x)
        finite = jnp.isfinite(losses)
        count = jnp.maximum(finite.sum(dtype=losses.dtype), 1)
        kept = jnp.where(finite, losses, 0)
        mean = kept.sum() / count
        spread_of_losses = jnp.where(finite, losses - mean, 0)
        metrics = {
            "candidate_loss": mean,
            "candidate_spread": jnp.sqrt(jnp.square(spread_of_losses).sum() / count),
            "effective_samples": jnp.square(c.sum())
            / jnp.maximum(jnp.square(c).sum(), 1e-30),
            "step_norm": jnp.linalg.norm(step),
            "left_out": (~finite).sum(),
        }
        return unravel(flat + step), MGSState(state.updates + 1), metrics

    return ZerothOrder(init, propose, update)


def importance_weights(losses: Array, log_q: Array, temperature: float) -> Array:
    """The normalised weights c_i / sum_j c_j of eq. 8. All zero if no loss is finite.

    Args:
      losses: [N], L(x + u_i).
      log_q: [N], log density of each draw, up to a constant.
      temperature: tau.

    >>> importance_weights(jnp.array([0.0, 1.0, jnp.inf]), jnp.zeros(3), 1.0).tolist()
    [0.7310585975646973, 0.2689414322376251, 0.0]
    """
    finite = jnp.isfinite(losses)
    log_c = jnp.where(finite, -jnp.where(finite, losses, 0) / temperature - log_q, 0)
    c = jax.nn.softmax(log_c, where=finite)
    return jnp.where(finite, c, 0)
