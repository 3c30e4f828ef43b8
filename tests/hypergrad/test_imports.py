"""The modules that hypergrad and zeroth import."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def modules_after(statement):
    code = f"import sys; {statement}; print(*sorted(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    return set(out.stdout.split())


@pytest.mark.parametrize("package", ["hypergrad", "zeroth"])
def test_a_pure_package_loads_jax_and_nothing_else(package):
    loaded = modules_after(f"import nasjax.{package}")
    assert "jax" in loaded
    others = {"flax", "optax", "orbax", "chex", "ml_collections", "matplotlib"}
    assert not loaded & others
    own = {name for name in loaded if name.startswith("nasjax.")}
    known = (f"nasjax.{package}", "nasjax.core")
    assert all(name.startswith(known) for name in own), own


def test_the_package_itself_does_not_even_load_jax():
    loaded = modules_after("import nasjax; nasjax.__version__; dir(nasjax)")
    assert not loaded & {"jax", "flax", "optax", "numpy"}
    assert {n for n in loaded if n.startswith("nasjax")} == {"nasjax"}


LIGHT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from nasjax import hypergrad, saliency, zeroth
loss = lambda w, a, batch: (w - a) ** 2
estimator = hypergrad.implicit(loss, lambda w, a, batch: w**2, hypergrad.cg(2))
print(hypergrad.check(estimator, 1.0, 1.0, None, None, solve=lambda w, a, b: a))
"""


WANTS_ALL = """
import sys
sys.modules["{package}"] = None  # as if it were not installed
import nasjax
try:
    from nasjax import run
    run(None, "no folder")
except nasjax.UserError as error:
    assert isinstance(error, ImportError), "a fallback on ImportError works"
    print(error)
from nasjax.cli import main
print(main(["run", "--config=zarts_mgs", "--workdir=none"]), main(["--help"]))
"""


@pytest.mark.parametrize("package", ["flax", "ml_collections", "jinja2"])
def test_a_light_install_says_what_to_install_for_a_run(package, tmp_path):
    out = subprocess.run(
        [sys.executable, "-c", WANTS_ALL.format(package=package)],
        cwd=tmp_path, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    sentence = f"needs the package '{package}', which is not installed; type `pip inst"
    lines = out.stdout.splitlines()
    assert lines[0].startswith(f"nasjax.run {sentence}"), out.stderr
    assert sentence in out.stderr and "Traceback" not in out.stderr
    assert "2 0" in lines and "usage: nasjax COMMAND ..." in lines
    assert not list(tmp_path.iterdir())


def test_without_any_package_but_jax_a_hypergradient_is_computed_and_checked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", d)[0] for d in project["dependencies"]}
    names -= {"jax", "numpy", "scipy"}  # JAX needs the last two
    modules = {
        "scikit-learn": "sklearn",
        "orbax-checkpoint": "orbax",
        "absl-py": "absl",
    }
    absent = {modules.get(name, name.replace("-", "_")) for name in names}
    assert {"flax", "optax", "orbax", "sklearn", "matplotlib"} <= absent
    out = subprocess.run(
        [sys.executable, "-c", LIGHT.format(absent=absent)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert "implicit_cg agrees" in out.stdout, out.stderr
