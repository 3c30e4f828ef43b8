"""The sizes of the networks of `benchmarks.accelerator`."""

from __future__ import annotations

from typing import Any

from benchmarks.supernet import NET
from nasjax.spaces import CellSpace, Macro, darts
from nasjax.spaces.rules import random_genotype

FULL = NET | {"batch": 64}
SMALL = NET | {
    "channels": 4, "cells": 2, "batch": 8, "size": 8, "samples": 2, "inner_steps": 2
}  # fmt: skip
SMALLEST = SMALL | {"channels": 2, "cells": 1, "batch": 4, "classes": 3}
OPERATIONS = (  # one of every kind
    "skip_connect", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3", "dil_conv_5x5"
)  # fmt: skip
SEARCH = {  # of a config for NAS-Bench-201, if dry; two operations compile fast
    "space.name": "", "space.primitives": ("skip_connect", "avg_pool_3x3"),
    "search.channels": 2, "search.cells": 1, "search.batch": 4, "data.shrink": 4
}  # fmt: skip


class Two(Macro):
    """A normal cell, then a reduction: the fewest cells that use both alphas."""

    reductions = (1,)


class One(Macro):
    """A normal cell."""

    reductions = ()


def small() -> dict[str, Any]:
    """The arguments of `Ours` in addition to the settings `SMALL`."""
    return net(darts(OPERATIONS), Two(SMALL["channels"], SMALL["cells"]))


def smallest() -> dict[str, Any]:
    """The arguments of `Ours` in addition to the settings `SMALLEST`."""
    macro = One(SMALLEST["channels"], SMALLEST["cells"])
    return net(darts(("skip_connect", "dil_conv_3x3")), macro)


def net(space: CellSpace, macro: Macro) -> dict[str, Any]:
    """A space, the stacking of its cells, and a genotype to retrain."""
    genotype = random_genotype(0, space)
    return {"space": space, "macro": macro, "genotype": genotype}
