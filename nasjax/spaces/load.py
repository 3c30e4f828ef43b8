"""Loads genotypes by name, file, run folder or text; finds a genotype's space."""

from __future__ import annotations

import json
import os
from pathlib import Path

from nasjax.core.errors import UserError, unknown
from nasjax.core.files import read_json
from nasjax.core.imports import load_recorded
from nasjax.spaces import texts
from nasjax.spaces.cells import CellSpace
from nasjax.spaces.genotype import EXAMPLE, Genotype, check
from nasjax.spaces.known import darts, known_space
from nasjax.spaces.published import PUBLISHED


def load(name: str | os.PathLike[str], space: CellSpace | None = None) -> Genotype:
    """A genotype by published name, file, run folder, or as a text.

    Args:
      name: a key of `nasjax.spaces.published.PUBLISHED` (case does not matter); a file,
        which holds JSON or a text; a folder that holds `genotype.json`; or a text that
        `nasjax.spaces.texts` reads, such as "Genotype(normal=[...], ...)" and
        "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|".
      space: the required space; None: the known space that the genotype names.

    Raises:
      UserError: there is no such genotype, or it is malformed or of another space.
    """
    text = os.fspath(name)
    if text.lower() in PUBLISHED:
        found = PUBLISHED[text.lower()]
    elif os.path.exists(text):  # False for what no file system has as a name
        return _file(Path(text), space)
    else:
        return _text(text, space)
    if space is not None:
        check(found, space)
    return found


def _text(text: str, space: CellSpace | None) -> Genotype:
    """The genotype of a text."""
    found = texts.read(text, space)
    if found is None:
        hint = str(unknown("genotype", text, PUBLISHED))
        raise UserError(
            f"{hint.rstrip('.')}; or give a JSON file, a run folder, or a text such as "
            '"Genotype(normal=[...], ...)".'
        )
    return found


def _file(path: Path, space: CellSpace | None) -> Genotype:
    """The genotype of a file, or of the folder of a run."""
    if path.is_dir():
        path = path / "genotype.json"
        if not path.exists():
            raise UserError(
                f"There is no {path}: the run has not found an architecture yet; "
                "repeat its command to resume it."
            )
    run = path.parent
    load_recorded(read_json(run / "manifest.json") or {}, run)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"Cannot read the genotype {path}: {error.strerror}; give a JSON file."
        ) from None
    except ValueError as error:  # undecodable bytes
        raise _not_json(path, error) from None
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        try:
            own = text.lstrip().startswith("{")
            printed = None if own else texts.read(text, space)
        except UserError as reason:
            raise UserError(f"{path}: {reason}") from None
        if printed is None:
            raise _not_json(path, error) from None
        return printed
    config = read_json(path.with_name("config.json")) if space is None else None
    own = (config or {}).get("space", {})
    if own.get("primitives") and not own.get("name"):
        space = darts(tuple(own["primitives"]))  # may be the user's operations
    try:
        return Genotype.from_json(data, space)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _not_json(path: Path, error: Exception) -> UserError:
    return UserError(
        f"{path} is not a JSON file ({error}); a genotype looks like {EXAMPLE}."
    )


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
