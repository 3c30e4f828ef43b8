"""Loads genotypes by name, file, run folder or string; finds a genotype's space."""

from __future__ import annotations

import json
import os
from pathlib import Path

from nasjax.core.errors import UserError, unknown
from nasjax.core.files import read_json
from nasjax.spaces.cells import CellSpace
from nasjax.spaces.genotype import EXAMPLE, Genotype, check
from nasjax.spaces.known import darts, known_space
from nasjax.spaces.nasbench201 import from_string
from nasjax.spaces.published import PUBLISHED


def load(name: str | os.PathLike[str], space: CellSpace | None = None) -> Genotype:
    """A genotype by published name, JSON file, run folder, or NAS-Bench-201's string.

    Args:
      name: a key of `nasjax.spaces.published.PUBLISHED` (case does not matter), a file, a
        folder that holds `genotype.json`, or "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|".
      space: the required space; None: the known space that the genotype names.

    Raises:
      UserError: there is no such genotype, or it is malformed or of another space.
    """
    known = PUBLISHED.get(str(name).lower())
    if str(name).startswith("|"):
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
                "repeat its command to resume it."
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
            f"{path} is not a JSON file ({error}); a genotype looks like {EXAMPLE}."
        ) from None
    config = read_json(path.with_name("config.json")) if space is None else None
    own = (config or {}).get("space", {})
    if own.get("primitives") and not own.get("name"):
        space = darts(tuple(own["primitives"]))  # may be the user's operations
    try:
        return Genotype.from_json(data, space)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def space_of(genotype: Genotype) -> CellSpace:
    """The known space of a genotype; the genotype may hold other operations.

    Raises:
      UserError: no known space has that name, or its cells have another shape.
    """
    space = known_space(genotype.space)
    pairs = len(space.targets)
    fits = all(len(own) == pairs for own in genotype.cells.values())
    if not fits or genotype.concat != space.concat:
        raise UserError(
            f"The genotype's cells do not fit space {genotype.space!r}; give your own "
            "space a new name and register it: "
            "nasjax.spaces.SPACES[space.name] = space."
        )
    return space
