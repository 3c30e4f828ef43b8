"""ZARTS with gradientless descent (GLD): the best of a ladder of radii, or nowhere.

Wang et al., arXiv 2110.04743, section 4.3; what all ZARTS share is in `zarts`.

    u_k uniform on the sphere of radius 2^-k R,   k = 0 .. floor(log2(R / r))
    alpha <- argmin { L(y) : y = alpha, alpha + u_0, alpha + u_1, ... }      (eq. 10)

see `nasjax.zeroth.gld`.

Deviations: alpha is measured like its candidates, after M inner steps; the released
code compares with the loss of weights that did not move. Others: see
`zarts` and `nasjax.zeroth.gld`.
"""

from __future__ import annotations

from nasjax.search.algorithms.zarts import zarts
from nasjax.search.base import Problem, Search
from nasjax.zeroth import gld


def build(problem: Problem, settings) -> Search:
    """settings: max_radius, min_radius, distribution; `zarts`'."""
    method = gld(settings.max_radius, settings.min_radius, settings.distribution)
    return zarts(problem, settings, f"gld_{settings.distribution}", method)
