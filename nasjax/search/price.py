"""What an architecture costs, as part of a search: multiply-adds, or a table's latency.

    L(alpha) + weight * max(0, price(genotype of alpha) / budget - 1)

The price is that of the genotype that alpha would be discretised to now, in the network
that is retrained. So it is piecewise constant, has no derivative, and is of use to
zero-order methods alone (ZARTS, arXiv 2110.04743, section 6, names it as future work).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.core.errors import UserError
from nasjax.nets import choice_macs, count_genotype
from nasjax.search import relax
from nasjax.spaces import CellSpace, Macro
from nasjax.spaces.genotype import discretise


class Price(NamedTuple):
    """A price and its budget; both functions take arch and may be jitted.

    Attributes:
      of: arch -> scalar, the price, in multiply-adds or in the table's unit.
      excess: arch -> scalar, what is added to the validation loss.
      costs: what it adds up: of all architectures, and of every choice by cell type.
    """

    of: Callable
    excess: Callable
    costs: tuple[float, Mapping[str, np.ndarray]]


def price(
    space: CellSpace,
    relaxation: Callable,
    costs: Mapping[str, np.ndarray],
    fixed: float,
    budget: float,
    weight: float,
) -> Price:
    """The price of alpha's genotype.

    Args:
      space: of the search.
      relaxation: (arch, None) -> mixing weights.
      costs: of every choice, cell type -> [E, O].
      fixed: of what all architectures have.
      budget: price up to which nothing is added; above 0.
      weight: what is added for twice the budget, in units of the loss.
    """
    chosen = relax.discretised(space)

    def of(arch):
        picked = chosen(relaxation(arch, None), None)
        each = [jnp.vdot(picked[kind], costs[kind]) for kind in space.types]
        return fixed + sum(each)

    def excess(arch):
        return weight * jnp.maximum(of(arch) / budget - 1, 0)

    return Price(of, excess, (fixed, costs))


def multiply_adds(
    space: CellSpace, macro: Macro, classes: int, image_shape: tuple[int, int, int]
) -> tuple[dict[str, np.ndarray], float]:
    """(costs, fixed) of the network that is retrained, for `price`."""
    costs = choice_macs(space, macro, image_shape[:2])
    even = {kind: np.ones(space.alpha_shape(kind)) for kind in space.types}
    some = discretise(even, space)
    whole = count_genotype(
        some, macro.channels, macro.cells, classes, image_shape[:2], image_shape[2],
        macro.stem,
    )["macs"]  # fmt: skip
    picked = relax.discretised(space)(jax.tree.map(jnp.asarray, even), None)
    own = sum(float(np.vdot(picked[kind], costs[kind])) for kind in space.types)
    return costs, whole - own


def table(space: CellSpace, macro: Macro, path: str) -> tuple[dict, float]:
    """(costs, fixed) from a JSON file {operation: cost of one use}, for `price`.

    Every cell of the network that is retrained uses its operations once more; fixed is 0.

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
