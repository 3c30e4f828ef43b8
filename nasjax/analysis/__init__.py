"""Studies of a search: its loss around alpha, and its architectures over time.

Functions for any objective over any pytree are here. `nasjax.analysis.runs` loads the
folder of a run. Each study is a command:

    python -m nasjax.analysis.landscape RUN     the loss on a plane, and paths on it
    python -m nasjax.analysis.condition RUN     condition numbers
    python -m nasjax.analysis.importance RUN    the weights of MGS
    python -m nasjax.analysis.convergence RUN   architectures of every k-th epoch
    python -m nasjax.analysis.stability RUN     signs of collapse
"""

from nasjax.analysis.measures import (
    Condition,
    WeightReport,
    condition_number,
    weight_report,
)
from nasjax.analysis.planes import (
    Plane,
    Shape,
    coordinates,
    descend,
    evaluator,
    plane,
    shape,
    walk,
)

__all__ = [
    "Condition",
    "Plane",
    "Shape",
    "WeightReport",
    "condition_number",
    "coordinates",
    "descend",
    "evaluator",
    "plane",
    "shape",
    "walk",
    "weight_report",
]
