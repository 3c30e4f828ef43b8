"""SDARTS-RS: SmoothDARTS with random perturbations.

Chen and Hsieh, arXiv 2002.05283, section 3.2; what both share is in `sdarts`.

    delta ~ U[-eps, eps], a draw for every weight step, shared by all cells of a type

Deviations: none known beside those of `nasjax.search.perturb`.
"""

from __future__ import annotations

from nasjax.search import perturb
from nasjax.search.algorithms.sdarts import smooth
from nasjax.search.base import Problem, Search


def build(problem: Problem, settings, bases) -> Search:
    """settings: noise ("uniform" or "normal"); `sdarts`'."""
    draws = {"uniform": perturb.uniform, "normal": perturb.gaussian}
    draw = draws[settings.noise]()
    return smooth(problem, settings, bases, settings.noise, draw, 0.0)
