"""Modules of the user, which register operations, spaces, algorithms or kinds of data.

A module is given by `--import=FILE.py` or `--import=PACKAGE.MODULE`, or in Python by
`load`. A run records its modules in its manifest, and commands on the run import them.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from nasjax.core.errors import UserError, short

GIVEN: list[str] = []
"""The modules that were given: absolute files, and names of installed modules."""
_RECORDED: set[str] = set()  # those of them that runs had recorded


@contextlib.contextmanager
def imported(argv: Sequence[str]) -> Iterator[list[str]]:
    """The arguments without --import=MODULE_OR_FILE; these modules are imported.

    `GIVEN` has these modules within the context. Arguments after "--" are left as they
    are.

    Raises:
      UserError: a module is missing or fails.
    """
    before, rest = list(GIVEN), list[str]()
    try:
        given = list(argv)
        while given and given[0] != "--":
            found = re.fullmatch(r"--?import(=.*)?", given[0], re.S)
            if not found:
                rest.append(given.pop(0))
                continue
            given.pop(0)
            if found[1]:
                load(found[1][1:])
            elif given:
                load(given.pop(0))
            else:
                load("")
        yield rest + given
    finally:
        GIVEN[:] = before
        _RECORDED.intersection_update(before)


def load(name: str) -> ModuleType:
    """Imports a module and adds it to `GIVEN`.

    Args:
      name: a Python file, the folder of a package, or the name of a module that is
        installed or in the current folder. A file is imported once by a process.

    Raises:
      UserError: there is no such module, or it raises an exception.
    """
    path = os.path.abspath(os.path.expanduser(name))
    package = os.path.join(path, "__init__.py")
    if name and os.path.isfile(package):
        module = _of_file(package, name)
    elif os.path.isfile(path):
        module = _of_file(path, name)
    elif re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name) and not name.endswith(".py"):
        module = _of_name(name)
    else:
        raise UserError(
            f"There is no module {short(name)!r}; give a Python file that exists, or "
            "the name of a module, such as --import=mine.py."
        )
    file = getattr(module, "__file__", None)
    # A module of the current folder is found by its file from everywhere.
    own = file and Path(file).is_relative_to(os.getcwd())
    recorded = os.path.abspath(file) if file and (own or _is_file(name)) else name
    if recorded not in GIVEN:
        GIVEN.append(recorded)
    return module


def load_recorded(manifest: Mapping[str, Any], folder: str | os.PathLike[str]) -> None:
    """Imports the modules of a run, unless modules were given by --import.

    Args:
      manifest: content of the run's manifest.json.
      folder: folder of the run, for messages.

    Raises:
      UserError: a module is missing or fails.
    """
    if not _RECORDED.issuperset(GIVEN):
        return
    starts = [manifest, *manifest.get("started", [])]
    every = [start["imports"] for start in starts if start.get("imports")]
    for name in every[-1] if every else ():
        if name.endswith(".py") and not os.path.isfile(name):
            raise UserError(
                f"{folder} was started with --import={name}, which does not exist any "
                "more; give its new place by --import=FILE.py."
            )
        before = set(GIVEN)
        try:
            load(name)
        except UserError as error:
            raise UserError(
                f"{folder} was started with --import={name}. {error}"
            ) from error
        _RECORDED.update(set(GIVEN) - before)


def _is_file(name: str) -> bool:
    return os.path.exists(os.path.expanduser(name))


def _of_file(path: str, given: str) -> ModuleType:
    """The module of a file; a file in a package is imported as a part of it."""
    if not path.endswith(".py"):
        raise UserError(
            f"{short(given)!r} is not a Python file; give a module whose name ends in "
            ".py with --import."
        )
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if file and file.endswith(".py") and os.path.abspath(file) == path:
            return module
    root, parts = os.path.split(path.removesuffix(".py"))
    name = parts
    while os.path.isfile(os.path.join(root, "__init__.py")):
        root, parent = os.path.split(root)
        name = parent if name == "__init__" else f"{parent}.{name}"
    if root not in sys.path:
        sys.path.append(root)  # last: its files must not hide installed modules
    if "." in name:
        return _run(lambda: importlib.import_module(name), given)
    if name in sys.modules or name in sys.stdlib_module_names:
        name = f"{name}_{hashlib.sha256(path.encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        _run(lambda: spec.loader.exec_module(module), given)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _of_name(name: str) -> ModuleType:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    importlib.invalidate_caches()
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        found = None
    if found is None or (found.origin is None and not found.has_location):
        raise UserError(
            f"There is no module {short(name)!r} here or among the installed ones; give "
            "a Python file, such as --import=mine.py."
        )
    return _run(lambda: importlib.import_module(name), name)


def _run(action, given: str) -> Any:
    try:
        return action()
    except (Exception, SystemExit) as error:  # any program of the user
        frames = list(traceback.extract_tb(error.__traceback__))
        here = Path(__file__).parents[1]  # nasjax, which refuses rows of its tables
        frames = [f for f in frames if here not in Path(f.filename).parents] or frames
        line = getattr(error, "lineno", None) or frames[-1].lineno
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"The module {short(given)!r} cannot be imported (line {line}: "
            f"{type(error).__name__}: {reason.rstrip('.')}); correct it and repeat the "
            "command."
        ) from error
