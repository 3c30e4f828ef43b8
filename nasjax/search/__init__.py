"""Search algorithms: one file each, one row each in `ALGORITHMS`.

A builder takes (Problem, settings) and returns a `Search`; `settings` is the part
`config.arch` of the configuration.
"""

from nasjax.search import (
    amended,
    darts_first,
    darts_second,
    implicit,
    random_search,
    zarts_gld,
    zarts_mgs,
    zarts_rs,
)
from nasjax.search.base import Cadence, Problem, Search, SearchState

ALGORITHMS = {
    "amended": amended.build,
    "darts_first": darts_first.build,
    "darts_second": darts_second.build,
    "implicit": implicit.build,
    "random_search": random_search.build,
    "zarts_gld": zarts_gld.build,
    "zarts_mgs": zarts_mgs.build,
    "zarts_rs": zarts_rs.build,
}

__all__ = ["ALGORITHMS", "Cadence", "Problem", "Search", "SearchState"]
