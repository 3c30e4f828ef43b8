"""SDARTS-RS: SmoothDARTS with random perturbations.

Chen and Hsieh, arXiv 2002.05283, section 3.2; `sdarts` has the method.

    delta ~ U[-eps, eps], a draw for every weight step, shared by all cells of a type

Deviations: none known except the deviations of `nasjax.search.perturb`.
"""

from __future__ import annotations

from typing import Any

from nasjax.core.limits import one_of
from nasjax.search import perturb
from nasjax.search.algorithms import sdarts
from nasjax.search.base import Algorithm


def settings(scale: str) -> dict[str, Any]:
    """The default settings of `sdarts` and of the noise."""
    del scale
    return sdarts.SETTINGS | {
        "noise": "uniform",  # or "normal", of the same variance
    }


LIMITS = sdarts.LIMITS | {
    "noise": one_of("uniform", "normal"),
}


def build(settings, base: Algorithm) -> Algorithm:
    """Smoothing by random perturbations."""
    draw = {"uniform": perturb.uniform, "normal": perturb.gaussian}[settings.noise]
    return base._replace(smoothing=sdarts.smoothing(settings, settings.noise, draw, 0))
