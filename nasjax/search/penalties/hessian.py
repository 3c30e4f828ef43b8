"""Explicit Hessian regularisation (SmoothDARTS, arXiv 2002.05283, section 4.2).

L(alpha) + weight * |H v|,   H the Hessian of L in alpha, v a random unit vector
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.core.trees import ravel
from nasjax.hypergrad import hvp
from nasjax.search.bilevel import Penalty
from nasjax.search.relax import Relaxation
from nasjax.spaces import CellSpace


def hessian(weight: float) -> Callable[..., Penalty]:
    """Builds the penalty weight * |H v|, with a new v for every batch."""

    def build(space: CellSpace, relaxation: Relaxation, final: Any) -> Penalty:
        if not relaxation.continuous:
            raise UserError(
                "config.collapse.penalty is a curvature in alpha, but this search moves "
                "between architectures; set --config.collapse.penalty=0."
            )
        return Penalty("hessian", of)

    def of(val_loss, w, arch, batch):
        v, restore = ravel(arch)
        key = derive(batch["at"].key, "penalty")
        v = jax.random.normal(key, v.shape, v.dtype)
        v = restore(v / jnp.linalg.norm(v))
        curved = hvp(lambda arch, *_: val_loss(w, arch, batch), arch, None, None, v)
        square = optax.tree.norm(curved, squared=True)
        norm = jnp.sqrt(square + jnp.finfo(square.dtype).tiny)  # smooth at 0
        return weight * norm

    return build
