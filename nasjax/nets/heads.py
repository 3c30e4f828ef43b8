"""The auxiliary head."""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from nasjax.nets.layers import BatchNorm, Conv, Linear, Style, wide


def auxiliary_bins(side: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The two windows, along one axis, of the auxiliary head's average pool to 2x2.

    The pool has kernel 5 and stride 3 on 8x8, and kernel 5 and stride 2 on 7x7, as in
    DARTS. Other maps have adaptive bins. Maps below 2x2 have no head: None.

    >>> auxiliary_bins(8), auxiliary_bins(7), auxiliary_bins(5), auxiliary_bins(1)
    (((0, 5), (3, 8)), ((0, 5), (2, 7)), ((0, 3), (2, 5)), None)
    """
    if side < 2:
        return None
    if side in (7, 8):
        return (0, 5), (side - 5, side)
    return (0, -(-side // 2)), (side // 2, side)


class AuxiliaryHead(nn.Module):
    """The second classifier, after two thirds of the cells, for training only."""

    classes: int
    stem: str
    style: Style

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = nn.relu(x)
        rows, columns = auxiliary_bins(x.shape[0]), auxiliary_bins(x.shape[2])
        assert rows and columns, "checked before: maps below 2x2 have no head"
        pooled = [[x[a:b, :, c:d].mean((0, 2)) for c, d in columns] for a, b in rows]
        x = jnp.stack([jnp.stack(row, 1) for row in pooled])  # [2, C, 2, B]
        x = BatchNorm(self.style)(Conv(128, self.style)(x), train)
        x = Conv(768, self.style, kernel=2)(nn.relu(x))
        if self.stem == "cifar":  # DARTS omits it on ImageNet; counts depend on it
            x = BatchNorm(self.style)(x, train)
        return Linear(self.classes)(wide(nn.relu(x))[0, :, 0].T)
