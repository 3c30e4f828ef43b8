"""Tabular benchmarks: spaces whose every architecture somebody has trained.

`nasjax.benchmarks.testbed` runs search algorithms on them, without any training.
"""

from nasjax.benchmarks.nasbench201 import (
    architectures,
    canonical,
    from_string,
    to_string,
)
from nasjax.benchmarks.tabular import DATASETS, Table

__all__ = [
    "DATASETS",
    "Table",
    "architectures",
    "canonical",
    "from_string",
    "to_string",
]
