"""Studies of a search: its loss around alpha, and its architectures over time.

Functions for any objective over any pytree are here. `nasjax.analysis.runs` loads the
folder of a run. Each study is a command:

    nasjax landscape RUN     the loss on a plane, and paths on it
    nasjax condition RUN     condition numbers
    nasjax importance RUN    the weights of MGS
    nasjax convergence RUN   architectures of every k-th epoch
    nasjax stability RUN     signs of collapse
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
