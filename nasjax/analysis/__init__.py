"""Studies of a search: what its loss looks like around alpha, and what it found when.

Functions for any objective over any pytree are here; `nasjax.analysis.runs` loads a
run's folder; and each study is a command:

    python -m nasjax.analysis.landscape RUN     the loss on a plane, and paths on it
    python -m nasjax.analysis.condition RUN     condition numbers
    python -m nasjax.analysis.importance RUN    the weights of MGS
    python -m nasjax.analysis.convergence RUN   architectures of every k-th epoch
    python -m nasjax.analysis.stability RUN     whether it has collapsed
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
