"""Imports follow the layers: a module imports from its folder or from a lower layer."""

import ast
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "nasjax"
LAYERS = (  # lowest first
    {"core"},
    {"hypergrad", "zeroth", "saliency", "spaces", "engine"},
    {"nets", "data", "plots"},
    {"tasks"},
    {"search"},
    {"monitors", "collapse"},
    {"experiment"},
    {"analysis"},
    {"commands"},
    {"main", "cli", "__init__"},
)
FILES = sorted(PACKAGE.rglob("*.py"))
PUBLISHED = "spaces/published.py"  # a table
name_of = lambda path: str(path.relative_to(PACKAGE))


def folder(path):
    """The folder of a module; for a top-level module, the module."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(path):
    """The names of all modules that a file imports, anywhere in the file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                file = ROOT / (whole.replace(".", "/") + ".py")
                module = file.exists() or file.with_suffix("").is_dir()
                yield whole if module else node.module


def level(name):
    (found,) = (index for index, layer in enumerate(LAYERS) if name in layer)
    return found


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_run_down(path):
    own = folder(path)
    for module in imported(path):
        top, _, rest = module.partition(".")
        if top != "nasjax":
            continue
        other = rest.split(".")[0] or "__init__"
        if other == "__init__":  # only the version
            assert level(own) >= level("experiment"), module
        elif other != own:
            assert level(other) < level(own), f"{own} imports {module}"


def test_no_circles():
    """No module imports itself through other modules."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in FILES
    }
    edges = {
        name: {other for other in imported(path) if other in modules and other != name}
        for name, path in modules.items()
        if path.name != "__init__.py"
    }
    done, above = set(), []

    def visit(name):
        assert name not in above, " -> ".join([*above, name])
        if name in done:
            return
        above.append(name)
        for other in sorted(edges.get(name, ())):
            visit(other)
        above.pop()
        done.add(name)

    for name in sorted(edges):
        visit(name)


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("orbax", {"engine/checkpoint.py"}),
        ("ml_collections", {"experiment", "main.py", "analysis", "commands"}),
    ],
)
def test_a_library_has_its_place(module, allowed):
    for path in FILES:
        if any(name.split(".")[0] == module for name in imported(path)):
            assert allowed & {name_of(path), folder(path)}, path


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_no_file_is_long(path):
    lines = len(path.read_text().splitlines())
    assert lines <= 320 or name_of(path) == PUBLISHED


def test_every_file_that_is_no_module_is_in_the_wheel():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["nasjax"]
    files = {path for path in PACKAGE.rglob("*") if path.is_file()}
    others = {path for path in files if path.suffix not in (".py", ".pyc")}
    assert others == {path for each in patterns for path in PACKAGE.glob(each)}
