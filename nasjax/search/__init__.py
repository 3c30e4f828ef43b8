"""Searches: relaxations, directions, perturbations, and the algorithms made of them."""

from nasjax.search.algorithms import PARTS, Part, compose, parse
from nasjax.search.assemble import search
from nasjax.search.base import Algorithm, Cadence, Search, SearchState
from nasjax.search.bilevel import Bilevel, Training

__all__ = [
    "PARTS",
    "Algorithm",
    "Bilevel",
    "Cadence",
    "Part",
    "Search",
    "SearchState",
    "Training",
    "compose",
    "parse",
    "search",
]
