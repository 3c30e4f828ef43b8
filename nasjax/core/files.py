"""Atomic writing of files; disk errors become one sentence."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nasjax.core.errors import UserError, short

RUN = "another folder with --workdir"
SCRATCH = ".nasjax-"  # prefix of scratch files, which a kill may leave behind


@contextlib.contextmanager
def writing(path: Path, instead: str = RUN) -> Iterator[None]:
    """Turns an `OSError` (disk full, read-only, no permission) into a `UserError`.

    instead: what the user can give in place of `path`.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(
            f"Cannot write to {short(str(path))}: {reason}; make room or fix its permissions and "
            f"repeat the command, or give {instead}."
        ) from error


def named(path: str | os.PathLike[str]) -> Path:
    """The path, unless no file can have this name.

    Raises:
        UserError: the name holds a NUL character.
    """
    if "\0" in os.fspath(path):
        raise UserError(
            f"No file can be named {short(os.fspath(path))!r}, because of its NUL "
            "character; give another name."
        )
    return Path(path)


def write_text(path: Path, text: str, instead: str = "another file") -> None:
    """`write_bytes` of `text` in UTF-8."""
    write_bytes(path, text.encode(), instead)


def write_bytes(path: Path, data: bytes, instead: str = "another file") -> None:
    """Replaces the file at `path` atomically and durably; `instead`: see `writing`.

    Raises:
        UserError: the folder cannot be written to or is full; `path` is untouched.
    """
    scratch = named(path).with_name(f"{SCRATCH}{path.name}")
    with writing(path.parent, instead):
        try:
            with open(scratch, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except OSError:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    """`write_text` of `value` as strict JSON (no NaN), indented."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n", RUN)


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in the JSON file at `path`, or None if there is no such file.

    Raises:
        UserError: the file cannot be read or does not hold a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"Cannot read {short(str(path))}: {reason}; fix the file, or give {RUN}."
        ) from error
    if not isinstance(value, dict):
        raise UserError(f"{path} should hold one JSON object; give another --workdir.")
    return value
