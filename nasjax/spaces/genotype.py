"""Genotypes: the discrete architectures that a search returns and files hold.

A genotype names, for every intermediate node of every cell type, the operations
that feed the node and where each one reads from. It is a value: frozen, hashable,
written as JSON. Rules of Liu, Simonyan, Yang, "DARTS: Differentiable Architecture
Search", ICLR 2019, arXiv 1806.09055, section 2.4.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from nasjax.core.errors import UserError, unknown
from nasjax.engine.workdir import read_json, write_text
from nasjax.spaces.cells import SPACES, CellSpace, darts

_FIELDS = ("format", "space", "concat")
_EXAMPLE = (
    '{"format": 1, "space": "darts", "normal": [["sep_conv_3x3", 0], ...], '
    '"reduce": [...], "concat": [2, 3, 4, 5]}'
)


@dataclass(frozen=True)
class Genotype:
    """A discrete architecture.

    Attributes:
      space: name of the `CellSpace` it belongs to.
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
        """The JSON object: the flat form for normal and reduce, else `cells`."""
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
        """Reads either JSON form and checks all of it.

        Args:
          data: what `json.loads` returned.
          space: the space it must belong to; None: the known space of that name.

        Raises:
          UserError: malformed, of another format or space, or not in the space.
        """
        if not isinstance(data, Mapping):
            raise UserError(
                f"A genotype is a JSON object like {_EXAMPLE}, not {_kind(data)}."
            )
        for field in _FIELDS:
            if field not in data:
                raise UserError(
                    f"The genotype has no {field!r}; it should look like {_EXAMPLE}."
                )
        if data["format"] != 1:
            raise UserError(
                f"The genotype says format {data['format']!r}, but this version reads "
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
        if cells and set(cells) == set(own.types):  # a cell of its own at every place
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
        """Writes the JSON file, one line per field; whole or not at all.

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
      UserError: the first thing that does not fit, in one sentence.
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


def load(name: str | os.PathLike[str], space: CellSpace | None = None) -> Genotype:
    """A genotype by published name, JSON file, run folder, or NAS-Bench-201's string.

    Args:
      name: a key of `nasjax.spaces.published.PUBLISHED` (case does not matter), a file, a
        folder that holds `genotype.json`, or "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|".
      space: the space it must belong to; None: the known space that it names.

    Raises:
      UserError: there is no such genotype, or it is malformed or of another space.
    """
    from nasjax.spaces.published import (
        PUBLISHED,  # it is built of this module's Genotype
    )

    known = PUBLISHED.get(str(name).lower())
    if str(name).startswith("|"):  # built of this module's Genotype, too
        from nasjax.spaces.nasbench201 import from_string

        known = from_string(str(name))
    if known is not None:
        if space is not None:
            check(known, space)
        return known
    path = Path(name)
    if path.is_dir():
        path = path / "genotype.json"
        if not path.exists():
            raise UserError(
                f"There is no {path}: the run has not found an architecture yet; "
                "repeat its command to go on with it."
            )
    if not path.exists():
        hint = str(unknown("genotype", str(name), PUBLISHED))
        raise UserError(f"{hint.rstrip('.')}; or give a JSON file or a run folder.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"Cannot read the genotype {path}: {error.strerror}; give a JSON file."
        ) from None
    except (ValueError, RecursionError) as error:  # also covers undecodable bytes
        raise UserError(
            f"{path} is not a JSON file ({error}); a genotype looks like {_EXAMPLE}."
        ) from None
    config = read_json(path.with_name("config.json")) if space is None else None
    own = (config or {}).get("space", {})
    if own.get("primitives") and not own.get("name"):
        space = darts(tuple(own["primitives"]))  # maybe operations of the user's
    try:
        return Genotype.from_json(data, space)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def discretise(
    mix: Mapping[str, np.ndarray], space: CellSpace, most_skips: int | None = None
) -> Genotype:
    """The DARTS rule: per node the `picks` strongest edges, on each its best operation.

    `none` never counts: neither for an edge's strength nor as its operation. Ties
    between edges go to the lower source, between operations to the lower index. A
    node's pairs are listed from the strongest edge down; by source where no edge is ever
    taken away. In a space whose genotypes hold `none` it is an operation like others.

    Args:
      mix: cell type -> mixing weights [E, O] (alpha AFTER the softmax), none negative.
      space: the space whose edges and primitives index them.
      most_skips: skip connections that a normal cell keeps at most. While it has more,
        the weakest of them is taken away and the rule applied again (P-DARTS,
        arXiv 1904.12760, section 3.3). Where nothing else is left a skip stays.

    Raises:
      UserError: weights are missing, of another shape or not finite.
    """
    cells = {}
    for name in space.types:
        shape = space.alpha_shape(name)
        real = _real(space, name)
        if name not in mix:
            raise unknown("cell type in the mixing weights", name, mix)
        weights = np.asarray(mix[name])
        if weights.shape != shape:
            raise UserError(
                f"The mixing weights of cell {name!r} have shape {weights.shape}, but "
                f"space {space.name!r} needs {shape}: [edges, primitives]."
            )
        if not np.isfinite(weights).all():
            raise UserError(
                f"The mixing weights of cell {name!r} are not finite, so they give no "
                "architecture; lower the architecture learning rate and search again."
            )
        weights = np.where(real, weights, -np.inf)
        kept = _strongest(weights, space, name)
        while most_skips is not None and space.role(name) == "normal":
            skips = [(row, op) for row, op, each in kept if each == "skip_connect"]
            weakest = min(skips, key=lambda at: weights[at], default=None)
            if len(skips) <= most_skips or weakest is None or weights[weakest] < 0:
                break
            weights[weakest] = -1.0
            kept = _strongest(weights, space, name)
        edges = space.edges_of(name)
        cells[name] = tuple((op, edges[row][0]) for row, _, op in kept)
    return Genotype(space.name, cells, space.concat)


def _strongest(weights: np.ndarray, space: CellSpace, kind: str) -> list:
    """(edge's row, operation's column, operation) of the pairs of a cell, in turn."""
    edges, kept = space.edges_of(kind), []
    for node in space.intermediate:
        rows = np.array([e for e, (_, t) in enumerate(edges) if t == node])
        if space.prunes:
            strength = weights[rows].max(axis=1)
            rows = rows[np.argsort(-strength, kind="stable")[: space.picks]]
        for row in rows:
            column = int(weights[row].argmax())
            kept.append((row, column, space.operations(kind, edges[row])[column]))
    return kept


def random_genotype(seed: int, space: CellSpace) -> Genotype:
    """A uniform draw: distinct sources for each node, operations that may be held.

    The same seed gives the same genotype. Li, Talwalkar, "Random Search and
    Reproducibility for Neural Architecture Search", UAI 2019, arXiv 1902.07638.
    """
    random = np.random.default_rng(seed)
    cells = {}
    for name in space.types:
        pairs, edges, real = [], space.edges_of(name), _real(space, name)
        for node in space.intermediate:
            into = [row for row, (_, target) in enumerate(edges) if target == node]
            picks = space.targets.count(node)
            for row in np.sort(random.choice(into, picks, replace=False)):
                op = random.choice(np.flatnonzero(real[row]))
                pairs.append((space.operations(name, edges[row])[op], edges[row][0]))
        cells[name] = tuple(pairs)
    return Genotype(space.name, cells, space.concat)


def one_hot(genotype: Genotype, space: CellSpace) -> dict[str, np.ndarray]:
    """The mixing weights that make a supernet compute the genotype's cells.

    Returns:
      cell type -> float32 [E, O]: 1 at every chosen (edge, operation), else 0. Two
      operations from one source to one node are two ones in that row; the same
      pair twice is a 2.

    Raises:
      UserError: the genotype is not in the space.
    """
    check(genotype, space)
    mix = {}
    for name in space.types:
        weights = np.zeros(space.alpha_shape(name), np.float32)
        for (op, source), node in zip(genotype.cells[name], space.targets, strict=True):
            edge = space.edges_of(name).index((source, node))
            weights[edge, space.operations(name, (source, node)).index(op)] += 1
        mix[name] = weights
    return mix


def _real(space: CellSpace, kind: str) -> np.ndarray:
    """Which choices [E, O] a genotype may hold."""
    real = np.array(space.real(kind))
    if not real.any(1).all():
        raise UserError(
            f"Space {space.name!r} has an edge with no primitive besides 'none' (it "
            f"lists {_list(space.primitives)}); give at least one, such as "
            "'skip_connect'."
        )
    return real


def known_space(name: object) -> CellSpace:
    """The space of that name, with all operations that it has anywhere.

    Raises:
      UserError: `nasjax.spaces.SPACES` has none.
    """
    own = [space for space in SPACES.values() if space.name == name]
    if not own:
        raise unknown("space", name, {space.name for space in SPACES.values()})
    union = tuple(dict.fromkeys(op for space in own for op in space.primitives))
    return own[0]._replace(primitives=union, lists=None)


def space_of(genotype: Genotype) -> CellSpace:
    """The known space of a genotype, whose operations may be others.

    Raises:
      UserError: there is none of that name, or its cells are of another shape.
    """
    space = known_space(genotype.space)
    pairs = len(space.targets)
    fits = all(len(own) == pairs for own in genotype.cells.values())
    if not fits or genotype.concat != space.concat:
        raise UserError(
            f"The genotype's cells are not those of space {genotype.space!r}; give a "
            "space of your own a name of its own and make it known: "
            "nasjax.spaces.SPACES[space.name] = space."
        )
    return space


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
    """A short rendering of a JSON value that is not what it should be."""
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"
