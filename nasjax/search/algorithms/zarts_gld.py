"""ZARTS with gradientless descent (GLD): the best step of a ladder of radii, or none.

Wang et al., arXiv 2110.04743, section 4.3; `zarts` has the parts that all ZARTS share.

    u_k uniform on the sphere of radius 2^-k R,   k = 0 .. floor(log2(R / r))
    alpha <- argmin { L(y) : y = alpha, alpha + u_0, alpha + u_1, ... }      (eq. 10)

see `nasjax.zeroth.gld`.

Deviations: alpha is measured like its candidates, after M inner steps; the released
code compares with the loss of weights that did not move. For other deviations see
`zarts` and `nasjax.zeroth.gld`.
"""

from __future__ import annotations

from typing import Any

from nasjax.core.limits import above, one_of
from nasjax.search.algorithms import zarts
from nasjax.search.base import Algorithm
from nasjax.search.directions import SHORT
from nasjax.zeroth import gld


def settings(scale: str) -> dict[str, Any]:
    """The default settings of `zarts` and of the ladder."""
    short = scale in SHORT
    return zarts.settings(scale) | {
        "max_radius": 0.5
        if short
        else 0.13,  # R, radius of the longest step, in each cell type
        "min_radius": 0.125 if short else 4.69e-6,  # r; log2(R / r) + 2 candidates
        "distribution": "sphere",  # distribution of the steps; or "ball"
    }


LIMITS = zarts.LIMITS | {
    "max_radius": above(0.0),
    "min_radius": above(0.0),
    "distribution": one_of("sphere", "ball"),
}


def build(settings, base: Algorithm) -> Algorithm:
    """ZARTS-GLD."""
    method = gld(settings.max_radius, settings.min_radius, settings.distribution)
    name = f"gld_{settings.distribution}"
    return zarts.zarts(settings, base, name, lambda training: method)
