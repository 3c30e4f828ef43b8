"""Search algorithms: one file each, one row each in `ALGORITHMS`.

A builder takes (Problem, settings) and returns a `Search`; `settings` is the part
`config.arch` of the configuration.
"""

from nasjax.search import darts_first, random_search, zarts_mgs
from nasjax.search.base import Cadence, Problem, Search, SearchState

ALGORITHMS = {
    "darts_first": darts_first.build,
    "random_search": random_search.build,
    "zarts_mgs": zarts_mgs.build,
}

__all__ = ["ALGORITHMS", "Cadence", "Problem", "Search", "SearchState"]
