"""What may be chosen: cells, edges, primitives and the macro around them, as data."""

from nasjax.spaces.cells import DARTS_7, DARTS_8, SPACES, CellSpace, darts
from nasjax.spaces.macro import CellPlan, Macro

__all__ = ["DARTS_7", "DARTS_8", "SPACES", "CellPlan", "CellSpace", "Macro", "darts"]
