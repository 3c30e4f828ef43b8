"""PC-DARTS: operations on a part of the channels, and weights of edges.

Xu, Xie, Zhang, Chen, Qi, Tian, Xiong, "PC-DARTS: Partial Channel Connections for
Memory-Efficient Architecture Search", ICLR 2020, arXiv 1907.05737, and its code. Of C
channels the first C/K pass through the operations, and the others bypass them. Then the
channels are shuffled, and the next edge applies its operations to other channels:

    y = shuffle(concat(sum_o softmax(alpha)_o o(x[: C/K]), x[C/K :]))     (eq. 1)
    node_j = sum over edges (i, j) of softmax over i of beta_ij * y_ij    (eq. 2)

beta scales all channels of an edge, including the channels that bypass the operations.
Architectures are derived from softmax(alpha) times the weight of the edge, by DARTS'
rule. Alpha and beta move together, by first-order DARTS or by another part of the
sentence.

Deviations:
  * As in the code, the first channels always pass through the operations. The paper
    specifies a random subset.
  * Where an edge halves the map, the bypassing channels are pooled 2x2 as in the code.
    A map of odd side is padded, so both parts have side ceil(n / 2).
  * Perturbations (`pc_darts+sdarts_rs`) apply to the weights of operators, not to beta.
"""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from nasjax.core.errors import UserError
from nasjax.core.limits import Limit, at_least
from nasjax.nets import Mixed
from nasjax.nets.layers import Style
from nasjax.nets.operations import NO_DRAWS, Draws
from nasjax.search.base import Algorithm
from nasjax.search.relax import Relaxation, softmax
from nasjax.spaces import CellSpace
from nasjax.spaces.mix import Weights


def settings(scale: str) -> dict[str, Any]:
    """The default settings of the partial channels."""
    return {
        "parts": 2 if scale == "imagenet" else 4,  # K: 1 / K of the channels are mixed
        "edge_weights": True,  # False: edges have no weights, as in SmoothDARTS' comparison
    }


LIMITS: dict[str, Limit] = {
    "parts": at_least(1),
}


def build(settings, base: Algorithm) -> Algorithm:
    """Partial channels and edge weights."""
    edge = functools.partial(Partial, parts=settings.parts)
    relaxation = weighted if settings.edge_weights else base.relaxation
    return base._replace(edge=edge, relaxation=relaxation)


class Partial(nn.Module):
    """An edge that mixes operations on its first channels and shuffles all channels."""

    primitives: tuple[str, ...]
    channels: int
    stride: int
    style: Style
    parts: int = 4

    @nn.compact
    def __call__(
        self, x: Array, weights: Weights, train: bool, draws: Draws = NO_DRAWS
    ) -> Array:
        few, rest = divmod(self.channels, self.parts)
        if rest or few % 2:
            raise UserError(
                f"{self.channels} channels cannot be split into {self.parts} parts of "
                "even size; set --config.search.channels to a multiple of "
                f"{2 * self.parts}, or change --config.arch.pc_darts.parts."
            )
        mixed = Mixed(self.primitives, few, self.stride, self.style)
        y = mixed(x[:, :few], weights._replace(edges=None), train, draws)
        past = x[:, few:] if self.stride == 1 else pooled(x[:, few:])
        y = shuffled(jnp.concatenate([y, past], 1), self.parts)
        return y if weights.edges is None else y * weights.edges.astype(y.dtype)


def shuffled(x: Array, parts: int) -> Array:
    """x [H, C, W, B] with channel g * C / parts + c moved to c * parts + g.

    >>> shuffled(jnp.arange(8).reshape(1, 8, 1, 1), 4).ravel().tolist()
    [0, 2, 4, 6, 1, 3, 5, 7]
    """
    height, channels, *rest = x.shape
    x = x.reshape(height, parts, channels // parts, *rest)
    return jnp.swapaxes(x, 1, 2).reshape(height, channels, *rest)


def pooled(x: Array) -> Array:
    """Max pool 2x2 of x [H, C, W, B]; the first of equal pixels gets the gradient."""
    odd = [(0, x.shape[0] % 2), (0, 0), (0, x.shape[2] % 2), (0, 0)]
    x = jnp.pad(x, odd, constant_values=-jnp.inf)
    first, *others = (x[i::2, :, j::2] for i in (0, 1) for j in (0, 1))
    for other in others:
        first = jnp.where(first >= other, first, other)
    return first


def weighted(space: CellSpace, spread: float = 1e-3) -> Relaxation:
    """Softmax over operators, and over the edges that enter a node.

    beta of a cell type is arch[type + "_edges"], [E].
    """
    plain = softmax(space, spread)

    def init(key: Array):
        own, *keys = jax.random.split(key, 1 + len(space.types))
        beta = {
            f"{kind}_edges": spread * jax.random.normal(k, (len(space.edges_of(kind)),))
            for kind, k in zip(space.types, keys, strict=True)
        }
        return plain.init(own) | beta

    def edges(kind: str, beta: Array) -> Array:
        targets = [target for _, target in space.edges_of(kind)]
        shares = [jnp.zeros(())] * len(targets)
        for node in set(targets):
            rows = [row for row, target in enumerate(targets) if target == node]
            own = jax.nn.softmax(beta[jnp.array(rows)])
            for row, share in zip(rows, own, strict=True):
                shares[row] = share
        return jnp.stack(shares)

    def mix(arch, at):
        found = plain.mix(arch, at)
        return {
            kind: own._replace(edges=edges(kind, arch[f"{kind}_edges"]))
            for kind, own in found.items()
        }

    return plain._replace(init=init, mix=mix)
