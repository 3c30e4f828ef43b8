"""Search algorithms: one file each, one row each in `ALGORITHMS`.

A builder takes (Problem, settings) and returns a `Search`; `settings` is the part
`config.arch` of the configuration.
"""

import functools

from nasjax.search.algorithms import (
    amended,
    darts_first,
    darts_second,
    implicit,
    random_search,
    sanas,
    sdarts_adv,
    sdarts_rs,
    zarts_gld,
    zarts_mgs,
    zarts_rs,
)
from nasjax.search.base import Cadence, Problem, Search, SearchState

BASES = {  # what wrappers may wrap
    "amended": amended.build,
    "darts_first": darts_first.build,
    "darts_second": darts_second.build,
    "implicit": implicit.build,
    "random_search": random_search.build,
    "zarts_gld": zarts_gld.build,
    "zarts_mgs": zarts_mgs.build,
    "zarts_rs": zarts_rs.build,
}
ALGORITHMS = BASES | {
    "sanas": sanas.build,
    "sdarts_adv": functools.partial(sdarts_adv.build, bases=BASES),
    "sdarts_rs": functools.partial(sdarts_rs.build, bases=BASES),
}

__all__ = ["ALGORITHMS", "BASES", "Cadence", "Problem", "Search", "SearchState"]
