"""FairDARTS: operators that do not compete, and a loss that makes each decide.

Chu, Zhou, Zhang, Li, "Fair DARTS: Eliminating Unfair Advantages in Differentiable
Architecture Search", ECCV 2020, arXiv 1911.12126. Every operator has a weight of its
own, and alpha's loss a term that drives weights to 0 or 1:

    sigmoid(alpha) instead of softmax(alpha), alpha = 0 at first
    L_val(w, alpha) - weight * mean over all entries of (sigmoid(alpha) - 0.5)^2

Alpha moves by first-order DARTS, or as another part of the sentence says. The space has
no `none`.

Deviations:
  * An architecture is read off by DARTS' rule, which the released code offers as well.
    Its default keeps an edge only where the weight is at least 0.85, so that nodes may
    have one input or none, which genotypes here cannot hold.
  * The term is part of alpha's loss alone. In the released code it is also part of the
    training loss, whose derivative in alpha is not used.
  * Perturbations (`fair_darts+sdarts_rs`) are not projected: rows have no sum to keep.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from nasjax.core.limits import Limit, at_least, one_of
from nasjax.search.base import Algorithm
from nasjax.search.bilevel import Penalty
from nasjax.search.relax import Relaxation
from nasjax.spaces import CellSpace
from nasjax.spaces.mix import Weights


def settings(scale: str) -> dict[str, Any]:
    """Settings of the zero-one loss."""
    del scale
    return {
        "weight": 10.0,  # of the zero-one loss in alpha's; 0: none
        "form": "square",  # of (sigmoid - 0.5); or "absolute"
    }


LIMITS: dict[str, Limit] = {
    "weight": at_least(0.0),
    "form": one_of("square", "absolute"),
}


def build(settings, base: Algorithm) -> Algorithm:
    """Independent operators and the zero-one loss."""
    measure = {"square": jnp.square, "absolute": jnp.abs}[settings.form]

    def zero_one(space: CellSpace, relaxation: Relaxation, final: Any) -> Penalty:
        del final

        def of(val_loss, w, arch, batch):
            del val_loss, w
            mix = relaxation.mix(arch, batch["at"])
            every = jnp.concatenate([mix[kind].ops.ravel() for kind in space.types])
            return -settings.weight * measure(every - 0.5).mean()

        return Penalty("zero_one", of)

    return base._replace(relaxation=independent, penalties=(*base.penalties, zero_one))


def independent(space: CellSpace, spread: float = 0.0) -> Relaxation:
    """sigmoid(alpha), with alpha 0 at first."""
    del spread

    def init(key):
        del key
        return {kind: jnp.zeros(space.alpha_shape(kind)) for kind in space.types}

    def mix(arch, at):
        del at
        return {kind: Weights(jax.nn.sigmoid(arch[kind])) for kind in space.types}

    return Relaxation(init, mix, simplex=False)
