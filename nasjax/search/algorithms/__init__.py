"""Search algorithms: one file each, one row each in `PARTS`.

A search is named by a sentence of their names, joined by "+". One part moves alpha; the
other parts change the rest of the search.

    darts_first      amended+sdarts_rs      zarts_mgs+sdarts_adv      darts_second+sanas
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any, NamedTuple

from nasjax.core.errors import UserError, unregistered
from nasjax.core.limits import Limit
from nasjax.core.tables import Table
from nasjax.search.algorithms import (
    amended,
    darts_first,
    darts_second,
    fair_darts,
    implicit,
    pc_darts,
    random_search,
    sanas,
    sdarts_adv,
    sdarts_rs,
    zarts_gld,
    zarts_mgs,
    zarts_rs,
)
from nasjax.search.base import Algorithm
from nasjax.search.directions import Descent
from nasjax.search.penalties import budget


class Part(NamedTuple):
    """A part of a search, with one name in the sentence.

    Attributes:
      build: (settings, Algorithm) -> the Algorithm with the choices of this part.
      settings: scale -> default settings by name; see `experiment.defaults`.
      limits: of settings by name, see `nasjax.core.limits`.
      moves: True if it moves alpha.
      on: the part that moves alpha if no part of the sentence does.
      wraps: fields of `Algorithm` in which it extends the choice of another part.
      shares: groups of the config that it reads in addition to its settings.
      smooth: True if its terms of alpha's loss have a derivative in alpha.
      free: settings that do not change results; a run may resume with other values.
    """

    build: Callable[[Any, Algorithm], Algorithm]
    settings: Callable[[str], dict[str, Any]]
    limits: Mapping[str, Limit] = MappingProxyType({})
    moves: bool = False
    on: str = "darts_first"
    wraps: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    smooth: bool = True
    free: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        """The first line of the docstring of the part's file."""
        return (inspect.getmodule(self.build).__doc__ or "").split("\n")[0]


def _part(module: ModuleType, **more: Any) -> Part:
    return Part(module.build, module.settings, module.LIMITS, **more)


def _fits(part: Any) -> bool:
    """True for a part of two functions, whose limits are of its settings."""
    if not (
        isinstance(part, Part) and callable(part.build) and callable(part.settings)
    ):
        return False
    defaults = part.settings("embedded")
    return isinstance(defaults, Mapping) and set(part.limits) <= set(defaults)


PARTS = Table(
    "nasjax.search.PARTS",
    "nasjax.search.Part(build, settings) with two functions, (settings, base) -> "
    "Algorithm and scale -> {setting: default}, and limits of these settings alone",
    _fits,
    {
        "amended": _part(amended, moves=True),
        "budget": _part(budget, on="zarts_gld", smooth=False),
        "darts_first": _part(darts_first, moves=True),
        "darts_second": _part(darts_second, moves=True),
        "fair_darts": _part(fair_darts),
        "implicit": _part(implicit, moves=True),
        "pc_darts": _part(pc_darts),
        "random_search": _part(random_search, moves=True),
        "sanas": _part(
            sanas, on="darts_second", wraps=("direction", "every"), shares=("saliency",)
        ),
        "sdarts_adv": _part(sdarts_adv),
        "sdarts_rs": _part(sdarts_rs),
        "zarts_gld": _part(zarts_gld, moves=True, free=("chunk",)),
        "zarts_mgs": _part(zarts_mgs, moves=True, free=("chunk",)),
        "zarts_rs": _part(zarts_rs, moves=True, free=("chunk",)),
    },
)
WORDS = {  # field of `Algorithm` -> its name in messages
    "direction": "how alpha moves",
    "every": "how often alpha moves",
    "relaxation": "the relaxation",
    "edge": "what an edge computes",
    "smoothing": "the perturbation of the weight step",
    "levels": "the further levels",
    "stages": "the stages",
    "weights_first": "the order of a round",
}
_BLANK = Algorithm(direction=None)  # type: ignore[arg-type]


def parse(sentence: str) -> tuple[str, ...]:
    """The part names of a sentence, starting with the part that moves alpha.

    Raises:
      UserError: a name is unknown or occurs twice, or two parts move alpha.

    >>> parse("sdarts_rs"), parse("sdarts_rs+amended")
    (('darts_first', 'sdarts_rs'), ('amended', 'sdarts_rs'))
    """
    names = tuple(sentence.split("+"))
    for name in names:
        if name not in PARTS:
            raise unregistered("algorithm", name, PARTS)
    if len(set(names)) < len(names):
        raise UserError(f"{sentence!r} names a part twice; name each part once.")
    moving = [name for name in names if PARTS[name].moves]
    if len(moving) > 1:
        raise UserError(
            f"{moving[0]} and {moving[1]} both move alpha; give only one of them."
        )
    if not moving:
        own = [PARTS[name].on for name in names if PARTS[name].on != "darts_first"]
        moving = own[:1] or ["darts_first"]
    return (*moving, *(name for name in names if not PARTS[name].moves))


def compose(sentence: str, settings: Mapping[str, Any]) -> Algorithm:
    """The algorithm of a sentence.

    Args:
      sentence: names of `PARTS` joined by "+".
      settings: part name -> settings of the part, with one attribute for each field.

    Raises:
      UserError: the sentence does not parse, or its parts do not compose.
      ValueError: a method refuses a setting.
    """
    algorithm, chosen = _BLANK, dict[str, str]()
    for name in parse(sentence):
        part = PARTS[name]
        before, algorithm = algorithm, part.build(settings[name], algorithm)
        if not isinstance(algorithm, Algorithm):
            raise UserError(
                f"The part {name!r} makes a {type(algorithm).__name__}; expected an "
                "Algorithm, as base._replace(...) returns it."
            )
        for field, word in WORDS.items():
            if getattr(before, field) is getattr(algorithm, field):
                continue
            if field in chosen and field not in part.wraps:
                raise UserError(
                    f"{chosen[field]} and {name} both choose {word}; give one of them."
                )
            chosen[field] = name
        if not part.smooth and isinstance(algorithm.direction, Descent):
            raise UserError(
                f"{name} has no derivative, and {chosen['direction']} descends a gradient "
                f"of alpha's loss; give a zero-order search such as {part.on}+{name}."
            )
    return algorithm


def default_settings(name: str, scale: str = "embedded") -> SimpleNamespace:
    """The default settings of a part, as its `build` takes them."""
    return SimpleNamespace(**PARTS[name].settings(scale))


def partners(name: str) -> list[str]:
    """The names of `PARTS` that compose with this one, by their default settings."""
    return [other for other in PARTS if other != name and _compose(f"{name}+{other}")]


def _compose(sentence: str) -> bool:
    try:
        names = parse(sentence)
        compose(sentence, {name: default_settings(name) for name in names})
    except UserError:
        return False
    return True
