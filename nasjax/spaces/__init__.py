"""What may be chosen: cells, edges, primitives and the macro around them, as data."""

from nasjax.spaces.cells import (
    AMENDED_S2,
    AMENDED_S3,
    DARTS_7,
    DARTS_8,
    NASBENCH_201,
    SPACES,
    CellSpace,
    Edge,
    darts,
)
from nasjax.spaces.macro import IMAGENET_PIXELS, CellPlan, Macro

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
    "darts",
]
