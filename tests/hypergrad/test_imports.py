"""The modules that hypergrad and zeroth import."""

import subprocess
import sys
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
