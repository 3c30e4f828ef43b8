"""A run is a folder: its configuration, its manifest, its metrics, its outcomes.

Every JSON file is replaced atomically: a run that is killed at any moment leaves a
folder that the same command can resume. Only `metrics.jsonl` grows; a line torn by a
kill is dropped when the run resumes.
"""

from __future__ import annotations

import contextlib
import json
import os
import weakref
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nasjax.core.errors import UserError, short
from nasjax.core.files import (
    RUN,
    SCRATCH,
    named,
    read_json,
    write_json,
    write_text,
    writing,
)
from nasjax.core.imports import load_recorded

PROBE_BYTES = 1 << 20  # a run does not start with less free disk space
MOST = 12  # differences of two configs that an error names


def reserve(directory: Path, size: int) -> None:
    """Raises `UserError` unless `directory` has room for a file of `size` bytes."""
    path = directory / f"{SCRATCH}probe"
    with writing(directory):
        try:
            with open(path, "wb") as file:
                if hasattr(os, "posix_fallocate"):  # not on macOS, not on Windows
                    os.posix_fallocate(file.fileno(), 0, size)
                else:
                    file.write(bytes(size))
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


class RunFolder:
    """The folder of one run: `open` it and `close` it (or `with`), or `read` it.

    Attributes:
        path: the folder, absolute.
        manifest: contents of `manifest.json`: the values of the first start, and
            `started`, one entry per start with the time and the values that differed.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], lock: int | None):
        self.path = path
        self.manifest = manifest
        # Closed at the latest with the object: a notebook may forget to close it.
        self._unlock = None if lock is None else weakref.finalize(self, os.close, lock)

    @classmethod
    def open(
        cls,
        workdir: str | os.PathLike[str],
        config: Mapping[str, Any],
        manifest: Mapping[str, Any],
        free: Collection[str] = (),
    ) -> RunFolder:
        """Creates the folder of a run, or opens the existing one.

        Nothing is written before all checks have passed. Opening a finished run (one
        with a `result.json`) changes nothing in it.

        Args:
            workdir: the folder; its parents are created.
            config: the resolved configuration, JSON types (tuples become lists).
            manifest: versions, seed, device, command: recorded once; on a restart only
                values that differ are added, to the new entry of `started`.
            free: dotted names of fields that may differ from the stored config.

        Raises:
            UserError: the folder cannot be written to, is full, is used by another
                process, holds files but no run, or holds a run of another config or
                of another version, see `check_format`.
        """
        try:
            new_config = json.loads(json.dumps(config, allow_nan=False))
        except ValueError as error:
            raise UserError(f"The config cannot be written as JSON: {error}.") from None
        new_manifest = json.loads(json.dumps(manifest, allow_nan=False))
        path = named(workdir).expanduser().absolute()
        if os.path.isfile(path):
            raise UserError(f"{path} is a file; give a folder with --workdir.")
        made: list[Path] = []
        lock = None
        try:
            with writing(path):
                made += [p for p in (path, *path.parents) if not p.exists()]
                path.mkdir(parents=True, exist_ok=True)
                lock = _lock(path)
                is_run = _is_run_of(new_config, path, free)
            finished = is_run and (path / "result.json").exists()
            if not finished:
                reserve(path, PROBE_BYTES)
            old_manifest = read_json(path / "manifest.json")
        except BaseException:
            if lock is not None:
                os.close(lock)
            with contextlib.suppress(OSError):  # leave no trace of a refused run
                for parent in made:
                    parent.rmdir()
            raise
        folder = cls(path, old_manifest or dict(new_manifest), lock)
        if not finished:
            folder._start(new_manifest)
        if not is_run:
            # Last, because a folder with this file counts as a run.
            write_json(path / "config.json", new_config)
        return folder

    @classmethod
    def read(cls, workdir: str | os.PathLike[str]) -> RunFolder:
        """The folder of an existing run, for reading; it is not locked.

        Modules of the user that the run was started with are imported.

        Raises:
            UserError: there is no such folder, it is not the folder of a run, or a
                module is missing or fails.
        """
        path = Path(workdir).expanduser().absolute()
        if not os.path.isdir(path):  # also of names that the system refuses
            raise UserError(
                f"There is no folder {short(os.fspath(workdir))}; give the folder of a run."
            )
        if read_json(path / "config.json") is None:
            raise UserError(
                f"{path} is not a run: it holds no config.json; give a folder that "
                "`nasjax run` or `nasjax retrain` wrote."
            )
        manifest = read_json(path / "manifest.json") or {}
        load_recorded(manifest, path)
        return cls(path, manifest, None)

    def _start(self, manifest: dict[str, Any]) -> None:
        entry = {"time": datetime.now(UTC).isoformat(timespec="seconds")}
        entry |= {k: v for k, v in manifest.items() if self.manifest.get(k) != v}
        self.manifest["started"] = [*self.manifest.get("started", []), entry]
        write_json(self.path / "manifest.json", self.manifest)

    def close(self) -> None:
        """Lets another process open the folder."""
        if self._unlock:
            self._unlock()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def interrupted(self) -> int:
        """Number of times that the run was started again."""
        return max(0, len(self.manifest.get("started", [])) - 1)

    @property
    def finished(self) -> bool:
        """True if the run has written its result."""
        return (self.path / "result.json").exists()

    def read_outcome(self, name: str) -> dict[str, Any] | None:
        """The value that `write_outcome` stored under `name`, or None."""
        return read_json(self.path / f"{name}.json")

    def write_outcome(
        self, name: str, value: Mapping[str, Any] | Sequence[Any]
    ) -> None:
        """Stores `value` as `NAME.json`, atomically: "genotype", "result", ..."""
        write_json(self.path / f"{name}.json", value)

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def log(self, line: Mapping[str, Any]) -> None:
        """Appends one line to `metrics.jsonl`."""
        with writing(self.path), open(self._metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`, without lines torn by a kill."""
        return [json.loads(text) for text in self._whole_lines()]

    def _whole_lines(self) -> list[str]:
        if not self._metrics.exists():
            return []
        text = self._metrics.read_text(encoding="utf-8", errors="replace")
        return [line for line in text.splitlines() if _is_object(line)]

    def drop_after(self, phase: str, step: int) -> None:
        """Drops the lines of `phase` after `step`: they will be written again."""
        if not self._metrics.exists():
            return
        kept = []
        for text in self._whole_lines():
            line = json.loads(text)
            if line.get("phase") != phase or line.get("step", 0) <= step:
                kept.append(text + "\n")
        if "".join(kept).encode() != self._metrics.read_bytes():
            write_text(self._metrics, "".join(kept), RUN)


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _lock(path: Path) -> int | None:
    """Locks the folder for this process until it ends, kill -9 included."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise UserError(
            f"Another process is using the run folder {path}; wait for it to end, or "
            "give another folder with --workdir."
        ) from None
    except OSError:  # a file system without locks
        os.close(handle)
        return None
    return handle


def _is_run_of(config: dict[str, Any], path: Path, free: Collection[str]) -> bool:
    """True if `path` holds a run of `config`, False if it is empty; else raises."""
    stored = read_json(path / "config.json")
    if stored is None:
        # A kill before config.json is written leaves only scratch files and manifest.
        names = {p.name for p in path.iterdir() if not p.name.startswith(SCRATCH)}
        names.discard("manifest.json")
        if names:
            raise UserError(
                f"{path} is not empty and is not a run of nasjax (it holds "
                f"{min(names)!r} but no config.json); give an empty or a new folder "
                "with --workdir."
            )
        return False
    if "format" in config:
        check_format(path, stored, config["format"])
    old, new = flat(stored), flat(config)
    names = (old | new).keys() - set(free)
    differ = sorted(n for n in names if _show(old, n) != _show(new, n))
    if differ:
        shown = "; ".join(
            f"{n} is {_show(old, n)} there and {_show(new, n)} here"
            for n in differ[:MOST]
        )
        more = f"; and {len(differ) - MOST} more" if len(differ) > MOST else ""
        raise UserError(
            f"{path} holds a run of another config ({shown}{more}); give another "
            "folder with --workdir, or the config it was started with."
        )
    return True


def check_format(path: Path, stored: Mapping[str, Any], wanted: int) -> None:
    """Refuses a run whose config has the format of another version.

    Args:
        path: folder of the run.
        stored: config of the run.
        wanted: the "format" of configs of this version.

    Raises:
        UserError: the config of the run has another format, or none.
    """
    if stored.get("format") == wanted:
        return
    manifest = read_json(path / "manifest.json") or {}
    version = (manifest.get("versions") or {}).get("nasjax")
    writer = f"nasjax {version}" if version else "nasjax of an unknown version"
    found = (
        f"of format {stored['format']}" if "format" in stored else "without a format"
    )
    raise UserError(
        f"{path} holds a run of another version: its config.json, by {writer}, is "
        f"{found}, and here it is of format {wanted}; start it again in a new folder, "
        f"such as --workdir={path}-new, or use the version that wrote it."
    )


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a config by dotted name.

    >>> flat({"seed": 0, "data": {"pad": 1}})
    {'seed': 0, 'data.pad': 1}
    """
    fields: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            fields |= flat(value, f"{prefix}{name}.")
        else:
            fields[prefix + name] = value
    return fields


def _show(flat: dict[str, Any], name: str) -> str:
    return json.dumps(flat[name]) if name in flat else "absent"
