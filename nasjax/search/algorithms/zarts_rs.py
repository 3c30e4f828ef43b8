"""ZARTS with random search (RS): finite differences along random directions.

Wang et al., arXiv 2110.04743, section 4.1; `zarts` has the parts that all ZARTS share.

    alpha <- alpha - xi phi(d) / (2 mu N) sum_i [L(alpha + mu u_i) - L(alpha - mu u_i)] u_i

with u_i uniform on the unit sphere of each cell type and phi(d) = d, or normal and
phi(d) = 1 (eq. 4, Table 1); see `nasjax.zeroth.random_search`.

Deviations: none known except those listed in `zarts` and `nasjax.zeroth.random_search`.
"""

from __future__ import annotations

from typing import Any

from nasjax.core.limits import above, at_least, one_of
from nasjax.search.algorithms import zarts
from nasjax.search.base import Algorithm
from nasjax.search.directions import SHORT
from nasjax.zeroth import random_search


def settings(scale: str) -> dict[str, Any]:
    """The default settings of `zarts` and of random search."""
    short = scale in SHORT
    return zarts.settings(scale) | {
        "samples": 2 if short else 8,  # N, directions of a move, of two candidates each
        "radius": 0.1,  # mu, distance of a candidate from alpha, in each cell type
        "rate": 0.2 if short else 1e-4,  # xi, learning rate of alpha
        "distribution": "sphere",  # distribution of the directions; or "normal"
        "antithetic": True,  # pairs alpha +- mu u; False: pairs alpha + mu u, alpha
    }


LIMITS = zarts.LIMITS | {
    "samples": at_least(1),
    "radius": above(0.0),
    "rate": at_least(0.0),
    "distribution": one_of("sphere", "normal"),
}


def build(settings, base: Algorithm) -> Algorithm:
    """ZARTS-RS."""
    method = random_search(
        settings.samples,
        settings.radius,
        settings.rate,
        settings.distribution,
        settings.antithetic,
    )
    name = f"rs_{settings.distribution}"
    return zarts.zarts(settings, base, name, lambda training: method)
