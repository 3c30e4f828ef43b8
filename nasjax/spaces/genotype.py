"""Genotypes: the discrete architectures that a search returns and files store.

A genotype names, for every intermediate node of every cell type, the operations
that feed the node and the source node of each operation. It is frozen and hashable,
and stored as JSON. `nasjax.spaces.rules` reads a genotype off mixing weights.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nasjax.core.errors import UserError, unknown
from nasjax.core.files import write_text
from nasjax.spaces.cells import CellSpace
from nasjax.spaces.known import known_space

_FIELDS = ("format", "space", "concat")
EXAMPLE = (
    '{"format": 1, "space": "darts", "normal": [["sep_conv_3x3", 0], ...], '
    '"reduce": [...], "concat": [2, 3, 4, 5]}'
)


@dataclass(frozen=True)
class Genotype:
    """A discrete architecture.

    Attributes:
      space: name of the `CellSpace` of the genotype.
      cells: cell type -> (operation, source) pairs for each intermediate node in turn,
        see `CellSpace.targets`. Read-only; any mapping may be given.
      concat: the nodes that the cell's output concatenates.
    """

    space: str
    cells: Mapping[str, tuple[tuple[str, int], ...]]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        cells = {t: tuple((op, s) for op, s in p) for t, p in self.cells.items()}
        object.__setattr__(self, "cells", MappingProxyType(cells))
        object.__setattr__(self, "concat", tuple(self.concat))

    def __hash__(self) -> int:
        return hash((self.space, frozenset(self.cells.items()), self.concat))

    def __reduce__(self) -> tuple[Any, ...]:  # a mapping proxy cannot be pickled
        return Genotype, (self.space, dict(self.cells), self.concat)

    def to_json(self) -> dict[str, Any]:
        """The JSON object: flat for the types normal and reduce, else with `cells`."""
        cells = {t: [list(pair) for pair in p] for t, p in self.cells.items()}
        body = cells if set(cells) == {"normal", "reduce"} else {"cells": cells}
        return {
            "format": 1,
            "space": self.space,
            **body,
            "concat": list(self.concat),
        }

    @classmethod
    def from_json(cls, data: object, space: CellSpace | None = None) -> Genotype:
        """Reads either JSON form and checks every field.

        Args:
          data: the value that `json.loads` returned.
          space: the required space; None: the known space that `data` names.

        Raises:
          UserError: `data` is malformed, has another format or space, or does not lie
            in the space.
        """
        if not isinstance(data, Mapping):
            raise UserError(
                f"A genotype is a JSON object like {EXAMPLE}, not {_kind(data)}."
            )
        for field in _FIELDS:
            if field not in data:
                raise UserError(
                    f"The genotype has no {field!r}; it should look like {EXAMPLE}."
                )
        if data["format"] != 1:
            raise UserError(
                f"The genotype has format {data['format']!r}, but this version reads "
                "format 1; update nasjax or convert the file."
            )
        space = space or known_space(data["space"])
        cells = {key: data[key] for key in data if key not in _FIELDS}
        if "cells" in cells:
            if len(cells) > 1:
                extra = next(key for key in cells if key != "cells")
                raise unknown("genotype field", extra, (*_FIELDS, "cells"))
            cells = cells["cells"]
        if not isinstance(cells, Mapping):
            raise UserError(
                'The genotype\'s "cells" must map cell types to lists of pairs, '
                f"not be {_kind(cells)}."
            )
        for name, pairs in cells.items():
            _check_pairs(name, pairs)
        own = space._replace(kept=None).separate(len(cells))
        if cells and set(cells) == set(own.types):  # a separate cell at every place
            space = space if space.types == own.types else own
        concat = data["concat"]
        if not isinstance(concat, list) or any(type(n) is not int for n in concat):
            raise UserError(
                f'The genotype\'s "concat" must be a list of node numbers such as '
                f"{list(space.concat)}, not {concat!r}."
            )
        genotype = cls(data["space"], cells, tuple(concat))
        check(genotype, space)
        ordered = {name: genotype.cells[name] for name in space.types}
        return cls(genotype.space, ordered, genotype.concat)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the JSON file atomically, one line per field.

        Raises:
          UserError: the folder is missing, cannot be written or is full.
        """
        fields = self.to_json().items()
        lines = (f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in fields)
        text = "{\n" + ",\n".join(lines) + "\n}\n"
        write_text(Path(path), text)


def check(genotype: Genotype, space: CellSpace) -> None:
    """Checks that a genotype lies in a space.

    Two pairs of a node may share their source, as in GDAS and PR-DARTS.

    Raises:
      UserError: the genotype does not lie in the space; gives the first reason.
    """
    if genotype.space != space.name:
        raise UserError(
            f"The genotype is of space {genotype.space!r}, but {space.name!r} is "
            f'expected; give a genotype whose "space" is {space.name!r}.'
        )
    if set(genotype.cells) != set(space.types):
        raise UserError(
            f"The genotype has the cells {_list(genotype.cells)}, but space "
            f"{space.name!r} has {_list(space.types)}."
        )
    for name, pairs in genotype.cells.items():
        targets = space.targets
        if len(pairs) != len(targets):
            each = [str(targets.count(node)) for node in space.intermediate]
            raise UserError(
                f"Cell {name!r} has {len(pairs)} [operation, source] pairs, but space "
                f"{space.name!r} needs {len(targets)}: {_list(each)} for its "
                f"{space.nodes} nodes in turn."
            )
        for (op, source), node in zip(pairs, targets, strict=True):
            known = [s for s, target in space.edges_of(name) if target == node]
            if source not in known:
                some = f"nodes 0 to {node - 1}"
                if len(known) < node:
                    some = f"the nodes {_list(map(str, known))}"
                raise UserError(
                    f"Node {node} of cell {name!r} reads from node {source}, but it "
                    f"can only read from {some}."
                )
            offered = space.operations(name, (source, node))
            if op not in offered:
                raise unknown("primitive", op, offered)
    if genotype.concat != space.concat:
        raise UserError(
            f"The genotype concatenates the nodes {list(genotype.concat)}, but space "
            f'{space.name!r} concatenates {list(space.concat)}; write "concat": '
            f"{list(space.concat)}."
        )


def _check_pairs(name: str, pairs: object) -> None:
    """Refuses anything but a list of [operation name, node number] pairs."""
    if not isinstance(pairs, list | tuple):
        raise UserError(
            f"Cell {name!r} must be a list of [operation, source] pairs, "
            f"not {_kind(pairs)}."
        )
    for pair in pairs:
        match pair:
            case [str(), int() as source] if not isinstance(source, bool):
                continue
        raise UserError(
            f"Cell {name!r} holds {_kind(pair)} where it needs an "
            '[operation, source] pair such as ["sep_conv_3x3", 0].'
        )


def _kind(value: object) -> str:
    """A short rendering of an unexpected JSON value."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"
