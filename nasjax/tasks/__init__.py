"""Tasks: what is trained, and the data it learns from. One row for each kind of data."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from nasjax.core.limits import Limit
from nasjax.core.tables import Table
from nasjax.tasks import classification
from nasjax.tasks.base import Domain


class Kind(NamedTuple):
    """A kind of data.

    Attributes:
      load: groups of the config as namespaces -> `Domain`. Its second argument, if it
        has one, is the `data` of `nasjax.run`.
      settings: scale -> default fields of its own group of the config by name, see
        `experiment.defaults`; that group has the name of the kind.
      limits: of these fields, see `nasjax.core.limits`.
    """

    load: Callable[..., Domain]
    settings: Callable[[str], dict[str, Any]] = lambda scale: {}
    limits: Mapping[str, Limit] = MappingProxyType({})


DOMAINS = Table(
    "nasjax.tasks.DOMAINS",
    "nasjax.tasks.Kind(load)",
    lambda kind: isinstance(kind, Kind) and callable(kind.load),
    {"images": Kind(classification.load)},
)
