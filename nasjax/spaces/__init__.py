"""Search spaces as data: cells, edges, primitives and the macro around the cells."""

from nasjax.spaces.cells import CellSpace, Edge
from nasjax.spaces.known import (
    AMENDED_S2,
    AMENDED_S3,
    DARTS_7,
    DARTS_8,
    NASBENCH_201,
    SPACES,
    darts,
)
from nasjax.spaces.macro import IMAGENET_PIXELS, CellPlan, Macro
from nasjax.spaces.mix import Mix, Weights

__all__ = [
    "AMENDED_S2",
    "AMENDED_S3",
    "DARTS_7",
    "DARTS_8",
    "IMAGENET_PIXELS",
    "NASBENCH_201",
    "SPACES",
    "CellPlan",
    "CellSpace",
    "Edge",
    "Macro",
    "Mix",
    "Weights",
    "darts",
]
