"""What holds in every test: 4 emulated CPU devices, programs compiled quickly, no
implicit rank promotion, and warnings are errors (pyproject.toml).

Compiling is nearly all of the time. So most optimisations are off, and XLA emits loops
by the older of its two ways, which takes half as long; results differ by rounding.
test_optimised.py compiles as users do.
"""

import os
from pathlib import Path

import jax
import pytest

# Read by XLA once, when the first device is asked for, which is later than this.
QUICK = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parents[1]


@pytest.fixture
def strict_dtypes():
    """Strict dtype promotion; not under optax, whose schedules and Adam break it."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def float64():
    """Double precision, for equations against closed forms."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, NASJAX_DATA; skipped where there is none."""
    path = Path(os.environ.get("NASJAX_DATA", ROOT.parent / "shared" / "data"))
    if not (path / "cifar10" / "cifar10_train.npz").exists():
        pytest.skip("no real data here; set NASJAX_DATA to their folder")
    return path
