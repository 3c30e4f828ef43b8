"""The programs of a phase: compiled ahead of time, in parallel, and kept on disk.

A second start finds a program by its key and loads the executable, without tracing or
compiling. The key covers the code (see `code`), versions, devices and JAX's settings
(see `environment`), and values that the caller adds: settings and the shapes of the
data. A file that is torn, stale or from another build is not run; the program is then
traced and compiled as without a file.
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
from concurrent.futures import Future
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import serialize_executable

from nasjax.engine import memory
from nasjax.engine.beside import beside
from nasjax.engine.compiling import compiler_options, processor, side_by_side

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
LIMIT = 4 << 30  # bytes of a folder; the least recently used programs are deleted


class Store(NamedTuple):
    """Executables in a folder.

    Attributes:
      folder: folder of the files; None keeps and finds nothing.
      about: everything that a program and the types of its arguments depend on.
    """

    folder: Path | None = None
    about: tuple[str, ...] = ()

    def of(self, *more: Any) -> Store:
        """The store of programs that also depend on `more`, by its repr."""
        return self._replace(about=(*self.about, *map(repr, more)))

    def file(self, name: str, kind: str = "program") -> Path:
        """The file of the entry of this name."""
        digest = hashlib.sha256(json.dumps([name, *self.about]).encode()).hexdigest()
        return (self.folder or Path()) / f"{digest[:32]}.{kind}"

    def planned(self, name: str) -> int | None:
        """Bytes that the kept program needs on a device; None without a program."""
        try:
            with open(self.file(name), "rb") as file:
                return int(json.loads(file.readline())["planned"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def load(self, name: str, where: list[jax.Device]) -> Any:
        """The kept program; None if its file is damaged or of another build."""
        try:
            with open(self.file(name), "rb") as file:
                head, data = json.loads(file.readline()), file.read()
            if hashlib.sha256(data).hexdigest() != head["digest"]:
                return None
            with contextlib.suppress(OSError):  # of another user, or read-only
                os.utime(self.file(name))
            if b"lapack" in data:
                _bind_lapack()
            payload, in_tree, out_tree = pickle.loads(data)
            return serialize_executable.deserialize_and_load(
                payload, in_tree, out_tree, where[0].client, where
            )
        except Exception:
            return None

    def keep(self, name: str, program: Any) -> None:
        """Writes a compiled program.

        It must not have run yet: on a CPU a program with a sort cannot be serialised
        after it has run. Nothing is raised, because nothing depends on a kept program.
        """
        if self.folder is None:
            return
        try:
            data = pickle.dumps(serialize_executable.serialize(program))
        except Exception:  # a backend, or a program, that cannot be serialised
            return
        digest, planned = hashlib.sha256(data).hexdigest(), memory.needed(program)
        head = json.dumps({"digest": digest, "planned": planned}).encode()
        _write(self.file(name), head + b"\n" + data)

    def knows(self, name: str) -> bool:
        """True if the value of this name is kept."""
        return self.folder is not None and self.file(name, "json").exists()

    def value(self, name: str, make: Callable[[], Any]) -> Any:
        """The kept value, or else the JSON value of `make()`, which is then kept."""
        if self.folder is None:
            return make()
        file = self.file(name, "json")
        try:
            return json.loads(file.read_text())
        except (OSError, ValueError):
            made = make()
            _write(file, json.dumps(made).encode())
            return made


NOTHING = Store()


class Programs:
    """Jitted functions by name, compiled ahead of time or found in a store.

    Programs in the store are loaded in the background, in the order of the names.
    """

    def __init__(self, store: Store, where: Iterable[jax.Device], **jitted: Any):
        self._store, self._where, self._jitted = store, list(where), jitted
        self._arguments: dict[str, tuple] = {}  # shapes, where they are known
        self._options: Mapping[str, str | bool] = {}
        self._ready: dict[str, Any] = {}  # programs, or futures of them
        self._planned = {name: store.planned(name) for name in jitted}
        self._load(["init"])  # has the shapes, also of a phase that ended

    def __getitem__(self, name: str) -> Callable:
        program = self._ready.get(name)
        if isinstance(program, Future):
            program = self._ready[name] = program.result()
        if program is None and name in self._arguments:
            self._compile([name])
            program = self._ready[name]
        return program or self._jitted[name]

    def compile(
        self,
        arguments: Mapping[str, tuple],
        soon: str,
        options: Mapping[str, str | bool],
    ) -> dict[str, int]:
        """Makes programs ready; programs in the store may load until they are called.

        Args:
          arguments: name -> arguments that the program will be called with.
          soon: name of the program that is called first; this one is waited for.
          options: compiler options.

        Returns:
          Name -> bytes that the program needs on a device.
        """
        self._load([soon, *arguments])
        self._arguments = jax.tree.map(_shape, dict(arguments))
        self._options = options
        self._compile([name for name in arguments if name not in self._ready])
        self[soon]  # waits
        return {name: self._planned[name] or 0 for name in arguments}

    def initial(self, *arguments: Any) -> Any:
        """The result of "init", compiled without optimisation because it runs once."""
        self._load(self._jitted)
        self.compile({"init": arguments}, "init", compiler_options(level=0))
        return self["init"](*arguments)

    def shapes(self, name: str, *arguments: Any) -> Any:
        """Shapes and dtypes of the result of a program."""
        found = self[name]
        if found is self._jitted[name]:
            return jax.eval_shape(found, *arguments)
        return found.out_info  # type: ignore[attr-defined]

    def _load(self, names: Iterable[str]) -> None:
        """Starts to load the programs of these names that are kept."""
        found: dict[str, Future] = {
            name: Future()
            for name in names
            if name not in self._ready and self._planned.get(name) is not None
        }
        self._ready |= found

        def load() -> None:
            for name, future in found.items():
                future.set_result(self._store.load(name, self._where))

        if found:
            beside(load)

    def _compile(self, names: Iterable[str]) -> None:
        lower = {
            name: functools.partial(self._jitted[name].lower, *self._arguments[name])
            for name in names
        }
        if not lower:
            return
        for name, program in side_by_side(lower, self._options).items():
            self._ready[name] = program
            self._planned[name] = memory.needed(program)
            self._store.keep(name, program)


def code(*files: str | Path) -> str:
    """A digest of the code that defines programs.

    It covers the sources of nasjax and `files` by content, and every other loaded
    module by the size and time of its file. It does not see code that is patched in
    memory.
    """
    digest, own = hashlib.sha256(), Path(__file__).parents[1]
    for file in (*sorted(own.rglob("*.py")), *map(Path, files)):
        digest.update(file.read_bytes())
    for name, module in sorted(sys.modules.items()):
        path = getattr(module, "__file__", None) or ""
        if Path(path).is_relative_to(own):
            continue
        with contextlib.suppress(OSError):
            stat = os.stat(path)
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
        processor(),
        str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0),
        json.dumps(compiler_options()),
        json.dumps(settings, sort_keys=True),
        *(
            os.environ.get(name, "")
            for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS", "NPROC")
        ),
    )


def _bind_lapack() -> None:
    """Binds LAPACK for a loaded program; JAX binds it when it lowers a LAPACK call.

    Otherwise the program would jump to an address that is not set.
    """
    jax.jit(jnp.linalg.eigh).lower(jax.ShapeDtypeStruct((2, 2), jnp.float32))


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    kind = jax.typeof(leaf)
    return jax.ShapeDtypeStruct(kind.shape, kind.dtype, sharding=leaf.sharding)


def _write(file: Path, content: bytes) -> None:
    """Writes a file atomically; a full disk is not an error."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        _make_room(file.parent, len(content))
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as scratch:
            try:
                scratch.write(content)
                scratch.flush()
                os.replace(scratch.name, file)
            except OSError:
                os.unlink(scratch.name)


def _make_room(folder: Path, size: int) -> None:
    """Deletes the least recently used files while the folder would exceed its limit."""
    files = []
    for each in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # another process's, now renamed
            files.append((each.stat(), each.path))
    files.sort(key=lambda file: file[0].st_mtime)
    size += sum(stat.st_size for stat, _ in files)
    for stat, path in files:
        if size <= LIMIT:
            break
        size -= stat.st_size
        with contextlib.suppress(OSError):
            os.unlink(path)
