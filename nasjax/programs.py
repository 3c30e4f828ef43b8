"""The programs of a phase: compiled ahead of time, side by side, and kept on disk.

A second start finds a program by what it was made from and loads its executable: it is
neither traced nor compiled. The key of a program covers the code (see `code`), the
versions, the devices, JAX's settings, what the caller names (`Store.of`), and shapes,
types and placement of the arguments. A file that is torn, stale or foreign is not run;
then the program is traced and compiled as if there were none.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import serialize_executable

from nasjax import memory
from nasjax.compiling import compiler_options, side_by_side

PACKAGES = ("jax", "jaxlib", "flax", "optax", "chex", "numpy")
LIMIT = 4 << 30  # bytes of a folder; the programs that were used longest ago go first


class Kept(NamedTuple):
    """A program on disk: bytes that it needs on a device, and how to load it."""

    planned: int
    load: Callable[[], Any]


class Store(NamedTuple):
    """Executables in a folder.

    Attributes:
      folder: of their files; None keeps and finds nothing.
      about: what the programs depend on beside their arguments.
    """

    folder: Path | None = None
    about: tuple[str, ...] = ()

    def of(self, *more: Any) -> Store:
        """The store of programs that depend on `more`, by its repr, too."""
        return self._replace(about=(*self.about, *map(repr, more)))

    def file(self, name: str, arguments: tuple) -> Path | None:
        """Where the program of this name for these arguments lies, if it is there."""
        if self.folder is None:
            return None
        leaves, structure = jax.tree.flatten(arguments)
        known = (name, *self.about, str(structure), *map(_described, leaves))
        digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()
        return self.folder / f"{digest[:32]}.program"

    def find(self, name: str, arguments: tuple, where) -> Kept | None:
        """The program that was kept for these arguments, unless its file is damaged."""
        file = self.file(name, arguments)
        if file is None:
            return None
        try:
            with open(file, "rb") as opened:
                head = json.loads(opened.readline())
                data = opened.read()
            os.utime(file)
            if hashlib.sha256(data).hexdigest() != head["digest"]:
                return None
            return Kept(head["planned"], functools.partial(_load, data, list(where)))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def keep(self, name: str, arguments: tuple, program: Any) -> Callable[[], None]:
        """Serialises a compiled program; what comes back writes it.

        A program must not have run yet: on a CPU one with a sort that has cannot be
        serialised. Nothing is raised, because nothing depends on a kept program.
        """
        file = self.file(name, arguments)
        try:
            data = file and pickle.dumps(serialize_executable.serialize(program))
        except Exception:  # a backend, or a program, that cannot be serialised
            data = None
        if not file or not data:
            return lambda: None
        digest, planned = hashlib.sha256(data).hexdigest(), memory.needed(program)
        head = json.dumps({"digest": digest, "planned": planned}).encode()
        return functools.partial(_write, file, head + b"\n" + data)


NOTHING = Store()


class Programs:
    """Jitted functions by name, compiled ahead of time or found in a store."""

    def __init__(self, store: Store, where: Iterable[jax.Device], **jitted: Any):
        self._store, self._where, self._jitted = store, tuple(where), jitted
        self._ready: dict[str, Any] = {}  # programs, or futures of them

    def __getitem__(self, name: str) -> Callable:
        program = self._ready.get(name, self._jitted[name])
        if isinstance(program, Future):
            program = self._ready[name] = program.result()
        return program

    def compile(
        self, arguments: Mapping[str, tuple], soon: str, options: Mapping[str, str]
    ) -> dict[str, int]:
        """Makes programs ready.

        Args:
          arguments: name -> what the program will be called with.
          soon: the program that is called first. Other kept ones are loaded in the
            background; where that fails they are compiled there.
          options: of the compiler.

        Returns:
          Name -> bytes that the program needs on a device.
        """
        find = functools.partial(self._store.find, where=self._where)
        found = {name: find(name, given) for name, given in arguments.items()}
        kept = {name: each for name, each in found.items() if each is not None}
        planned = {name: each.planned for name, each in kept.items()}
        shapes = jax.tree.map(_shape, dict(arguments))
        if soon in kept:
            with contextlib.suppress(Exception):  # of another build of XLA, say
                self._ready[soon] = kept[soon].load()
            del kept[soon]
        missing = [name for name in arguments if name not in {*kept, *self._ready}]
        compiled = self._compiled(missing, arguments, options)
        writes = [
            self._store.keep(name, shapes[name], program)
            for name, program in compiled.items()
        ]
        self._ready |= compiled
        planned |= {name: memory.needed(each) for name, each in compiled.items()}

        def load(name: str) -> Any:
            try:
                return kept[name].load()
            except Exception:
                return self._compiled([name], shapes, options)[name]

        background = ThreadPoolExecutor(1)
        self._ready |= {name: background.submit(load, name) for name in kept}
        for write in writes:
            background.submit(write)
        background.shutdown(wait=False)
        return planned

    def initial(self, *arguments: Any) -> Any:
        """What "init" returns. It runs once, so it is compiled without optimisation."""
        self.compile({"init": arguments}, "init", compiler_options(level=0))
        return self["init"](*arguments)

    def shapes(self, name: str, *arguments: Any) -> Any:
        """Shapes and dtypes of what a program returns."""
        found = self._store.find(name, arguments, self._where)
        with contextlib.suppress(Exception):
            if found is not None:
                return found.load().out_info
        return jax.eval_shape(self._jitted[name], *arguments)

    def _compiled(self, names: Iterable[str], arguments, options) -> dict[str, Any]:
        lower = {
            name: functools.partial(self._jitted[name].lower, *arguments[name])
            for name in names
        }
        return side_by_side(lower, options)


def code(*files: str | Path) -> str:
    """A digest of the code that defines programs.

    It covers nasjax's sources and `files` by content, and every other module that is
    loaded by its file's size and time. What is patched in memory it does not see.
    """
    digest = hashlib.sha256()
    for file in (*sorted(Path(__file__).parent.rglob("*.py")), *map(Path, files)):
        digest.update(file.read_bytes())
    for name, module in sorted(sys.modules.items()):
        path = getattr(module, "__file__", None)
        with contextlib.suppress(OSError):
            stat = os.stat(path or "")
            digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def environment(where: Iterable[jax.Device]) -> tuple[str, ...]:
    """Versions, devices and settings that a program depends on."""
    settings = {k: repr(v) for k, v in jax.config.values.items() if "cache" not in k}
    devices = [f"{each.device_kind} {each.id}" for each in where]
    return (
        sys.version,
        *(f"{name} {version(name)}" for name in PACKAGES),
        *devices,
        jax.devices()[0].client.platform_version,
        json.dumps(compiler_options()),
        json.dumps(settings, sort_keys=True),
        *(os.environ.get(name, "") for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS")),
    )


def _described(leaf: Any) -> str:
    kind, sharding = jax.typeof(leaf), getattr(leaf, "sharding", None)
    return f"{kind.shape} {kind.dtype} {getattr(kind, 'weak_type', False)} {sharding}"


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    kind = jax.typeof(leaf)
    return jax.ShapeDtypeStruct(kind.shape, kind.dtype, sharding=leaf.sharding)


def _load(data: bytes, where: list[jax.Device]) -> Any:
    payload, in_tree, out_tree = pickle.loads(data)
    return serialize_executable.deserialize_and_load(
        payload, in_tree, out_tree, where[0].client, where
    )


def _write(file: Path, content: bytes) -> None:
    """Writes a file as a whole or not at all; a full disk is no error."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        _make_room(file.parent, len(content))
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as scratch:
            scratch.write(content)
        os.replace(scratch.name, file)


def _make_room(folder: Path, size: int) -> None:
    """Deletes what was used longest ago, where the folder would pass its limit."""
    files = [(each.stat(), each.path) for each in os.scandir(folder)]
    files.sort(key=lambda file: file[0].st_mtime)
    size += sum(stat.st_size for stat, _ in files)
    for stat, path in files:
        if size <= LIMIT:
            break
        size -= stat.st_size
        os.unlink(path)
