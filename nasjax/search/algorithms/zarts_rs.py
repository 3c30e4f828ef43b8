"""ZARTS with random search (RS): finite differences along random directions.

Wang et al., arXiv 2110.04743, section 4.1; what all ZARTS share is in `zarts`.

    alpha <- alpha - xi phi(d) / (2 mu N) sum_i [L(alpha + mu u_i) - L(alpha - mu u_i)] u_i

with u_i uniform on the unit sphere of each type of cell and phi(d) = d, or normal and
phi(d) = 1 (eq. 4, Table 1); see `nasjax.zeroth.random_search`.

Deviations: none known beside those of `zarts` and `nasjax.zeroth.random_search`.
"""

from __future__ import annotations

from nasjax.search.algorithms.zarts import zarts
from nasjax.search.base import Problem, Search
from nasjax.zeroth import random_search


def build(problem: Problem, settings) -> Search:
    """settings: samples, radius, rate, distribution, antithetic; `zarts`'."""
    method = random_search(
        settings.samples,
        settings.radius,
        settings.rate,
        settings.distribution,
        settings.antithetic,
    )
    return zarts(problem, settings, f"rs_{settings.distribution}", method)
