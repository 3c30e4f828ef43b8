"""A penalty on the price of an architecture: multiply-adds, or latencies from a table.

    L(alpha) + weight * max(0, price(genotype of alpha) / budget - 1)

The price is computed for the genotype that alpha would be discretised to now, in the
network that is retrained. The price is piecewise constant and has no derivative, so
only zero-order methods can use it: `zarts_gld+budget`. ZARTS (arXiv 2110.04743,
section 6) names it as future work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from nasjax.core.errors import UserError
from nasjax.core.limits import Limit, above, at_least
from nasjax.nets import choice_macs, count_genotype
from nasjax.search.base import Algorithm
from nasjax.search.bilevel import Penalty
from nasjax.search.relax import Relaxation
from nasjax.spaces import CellSpace, Macro
from nasjax.spaces.mix import Weights
from nasjax.spaces.rules import choose, discretise
from nasjax.tasks.base import At


def settings(scale: str) -> dict[str, Any]:
    """The default settings of the price."""
    most = {"embedded": 4e5, "small": 8.5e5, "paper": 5e8, "imagenet": 6e8}
    return {
        "price": "macs",  # multiply-adds, or a JSON file {operation: cost of one use}
        "most": most[scale],  # budget: largest price without a penalty
        "weight": 1.0,  # penalty at twice the budget, in units of the loss
    }


LIMITS: dict[str, Limit] = {
    "most": above(0.0),
    "weight": at_least(0.0),
}


def build(settings, base: Algorithm) -> Algorithm:
    """Adds the price as a penalty."""

    def penalty(space: CellSpace, relaxation: Relaxation, final: Any) -> Penalty:
        if not hasattr(final, "macro"):
            raise UserError(
                "budget counts the multiply-adds of networks on images, and this search "
                "is on data of another kind; leave it out of --config.algorithm."
            )
        if settings.price == "macs":
            costs = multiply_adds(space, final.macro, final.classes, final.image_shape)
        else:
            costs = table(space, final.macro, settings.price)
        return price(space, relaxation, *costs, settings.most, settings.weight)

    return base._replace(penalties=(*base.penalties, penalty))


def price(
    space: CellSpace,
    relaxation: Relaxation,
    costs: Mapping[str, np.ndarray],
    fixed: float,
    most: float,
    weight: float,
) -> Penalty:
    """The penalty on the price of alpha's genotype above a budget.

    Args:
      space: the cell space of the search.
      relaxation: the relaxation of alpha.
      costs: cost of every choice, cell type -> [E, O].
      fixed: cost of the parts that all architectures share.
      most: the budget, the largest price without a penalty; above 0.
      weight: penalty at twice the budget, in units of the loss.
    """

    def of(arch):
        picked = relaxation.choose(relaxation.mix(arch, At()), space, None)
        each = [jnp.vdot(picked[kind].ops, costs[kind]) for kind in space.types]
        return fixed + sum(each)

    def excess(val_loss, w, arch, batch):
        del val_loss, w, batch
        return weight * jnp.maximum(of(arch) / most - 1, 0)

    known = {kind: np.asarray(own).tolist() for kind, own in costs.items()}
    return Penalty("budget", excess, (fixed, known), lambda arch: {"price": of(arch)})


def multiply_adds(
    space: CellSpace, macro: Macro, classes: int, image_shape: tuple[int, int, int]
) -> tuple[dict[str, np.ndarray], float]:
    """(costs, fixed) of the network that is retrained, for `price`."""
    costs = choice_macs(space, macro, image_shape[:2])
    ones: Any = {kind: np.ones(space.alpha_shape(kind)) for kind in space.types}
    even = {kind: Weights(own) for kind, own in ones.items()}
    some = discretise(even, space)
    whole = count_genotype(
        some, macro.channels, macro.cells, classes, image_shape[:2], image_shape[2],
        macro.stem,
    )["macs"]  # fmt: skip
    picked = choose(even, space)
    own = sum(float(np.vdot(picked[kind].ops, costs[kind])) for kind in space.types)
    return costs, whole - own


def table(space: CellSpace, macro: Macro, path: str) -> tuple[dict, float]:
    """(costs, fixed) from a JSON file {operation: cost of one use}, for `price`.

    Every cell of the retrained network counts its operations once; fixed is 0.

    Raises:
      UserError: there is no such file, or it lacks an operation of the space.
    """
    try:
        given = json.loads(Path(path).expanduser().read_text(encoding="utf-8"))
        cost = {name: float(given[name]) for name in space.primitives}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"The table of costs {path!r} cannot be read ({error}); give a JSON file "
            'such as {"skip_connect": 0.0, "sep_conv_3x3": 1.2}, or "macs".'
        ) from None
    except KeyError as error:
        raise UserError(
            f"The table of costs {path!r} has no cost for {error}; give one for each of "
            f"{', '.join(space.primitives)}."
        ) from None
    uses = [space.kind(i, plan.type) for i, plan in enumerate(macro.plan())]
    each = {
        kind: np.array([[cost[op] for op in own] for own in space.choices(kind)])
        for kind in space.types
    }
    return {kind: uses.count(kind) * own for kind, own in each.items()}, 0.0
