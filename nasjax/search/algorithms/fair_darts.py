"""FairDARTS: independent operator weights, and a loss that drives each to 0 or 1.

Chu, Zhou, Zhang, Li, "Fair DARTS: Eliminating Unfair Advantages in Differentiable
Architecture Search", ECCV 2020, arXiv 1911.12126. Every operator has an independent
weight, and alpha's loss has a term that drives the weights to 0 or 1:

    sigmoid(alpha) instead of softmax(alpha), initially alpha = 0
    L_val(w, alpha) - weight * mean over all entries of (sigmoid(alpha) - 0.5)^2

Alpha moves by first-order DARTS, or by another part of the sentence. The space of the
paper has no operator `none`.

Deviations:
  * An architecture is derived by DARTS' rule, which is an option of the released code.
    The default rule of that code keeps an edge only if its weight is at least 0.85. A
    node can then have one input or none, which genotypes here cannot represent.
  * The term is part of alpha's loss only. In the released code it is also part of the
    training loss, whose derivative in alpha is not used.
  * Perturbed weights (`fair_darts+sdarts_rs`) are clamped to [0, 1]; rows have no fixed
    sum.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from nasjax.core.limits import Limit, at_least, one_of
from nasjax.search.base import Algorithm
from nasjax.search.bilevel import Penalty
from nasjax.search.perturb import project_box
from nasjax.search.relax import Relaxation
from nasjax.spaces import CellSpace


def settings(scale: str) -> dict[str, Any]:
    """The default settings of the zero-one loss."""
    del scale
    return {
        "weight": 10.0,  # weight of the zero-one loss in alpha's loss; 0: no such loss
        "form": "square",  # function of (sigmoid - 0.5); or "absolute"
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
    """The relaxation sigmoid(alpha), with alpha = 0 initially."""
    del spread

    def init(key):
        del key
        return {name: jnp.zeros(shape) for name, shape in space.shapes().items()}

    def mix(arch, at):
        del at
        return space.mix({name: jax.nn.sigmoid(arch[name]) for name in space.shapes()})

    return Relaxation(init, mix, project=project_box)
