"""Settings of all tests: 4 emulated CPU devices, fast compilation, no implicit rank
promotion, a separate cache for this run, a limit on each test's compile time, and
warnings as errors (pyproject.toml).

Compiling takes nearly all of the tests' time. So most optimisations are off, and XLA
uses the older of its two loop emitters, which takes half as long; results differ by
rounding. The tests in test_supernets.py compile with the settings of users.
"""

import functools
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import jax
import pytest

# XLA reads its flags once, when the first device is requested, which is after this line.
# An unknown flag ends the process.
QUICK, LONGEST = "--xla_cpu_parallel_codegen_split_count=1", 40
if jax.__version_info__ < (0, 11):  # fusion emitters take half of the compile time
    QUICK, LONGEST = f"{QUICK} --xla_cpu_use_fusion_emitters=false", 20
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK}".strip()
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).parents[1]
CACHE = pytest.StashKey[str]()


def pytest_configure(config):
    """One fresh cache for all workers and programs of this run, instead of the user's."""
    config.addinivalue_line("markers", "slow_compile(reason): may compile for long")
    if not hasattr(config, "workerinput"):  # workers inherit the environment variable
        config.stash[CACHE] = tempfile.mkdtemp(prefix="nasjax-tests-")
        os.environ["XDG_CACHE_HOME"] = config.stash[CACHE]


def pytest_unconfigure(config):
    shutil.rmtree(config.stash.get(CACHE, ""), ignore_errors=True)


COMPILING = ("jaxpr_trace_", "jaxpr_to_mlir_module_", "backend_compile_")
SECONDS = dict.fromkeys(COMPILING, 0.0)  # seconds spent so far, wall-clock time


def _listen(event: str, seconds: float, **_) -> None:
    kind = event.rpartition("/")[2].removesuffix("duration")
    if kind in SECONDS:
        SECONDS[kind] += seconds


@functools.cache
def _slowness() -> float:
    """Factor, at least 1, by which this machine is slower than the reference machine."""
    begun = time.process_time()
    sum(range(10**7))
    return max((time.process_time() - begun) / 0.2, 1)


jax.monitoring.register_event_duration_secs_listener(_listen)


def _limited(item, part: str):
    """Fails a test if a part of it compiles for more than LONGEST seconds, both of
    wall-clock and of CPU time, on a machine whose `_slowness` is 1. Compilation in
    processes that the test starts is not counted."""
    clock, cpu = sum(SECONDS.values()), time.process_time()
    result = yield
    spent = min(sum(SECONDS.values()) - clock, time.process_time() - cpu)
    if spent > LONGEST * _slowness() and not item.get_closest_marker("slow_compile"):
        pytest.fail(
            f"The {part} of {item.nodeid} compiles for {spent:.0f} s, more than "
            f"{LONGEST} s: take a smaller net or share a fixture, or mark it "
            "@pytest.mark.slow_compile(reason=...).",
            pytrace=False,
        )
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    """Counts the compile time of a fixture for the first test that uses the fixture."""
    return (yield from _limited(item, "setup"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from _limited(item, "call"))


@pytest.fixture
def strict_dtypes():
    """Strict dtype promotion; not for tests with optax, whose schedules and Adam fail."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def float64():
    """Double precision, for comparisons of equations with closed forms."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def new_threads():
    """A function: the live threads that the test started; earlier ones may end meanwhile."""
    before = set(threading.enumerate())
    return lambda: set(threading.enumerate()) - before


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, NASJAX_DATA; a test is skipped where it is absent."""
    path = Path(os.environ.get("NASJAX_DATA", ROOT.parent / "shared" / "data"))
    if not (path / "cifar10" / "cifar10_train.npz").exists():
        pytest.skip("no real data here; set NASJAX_DATA to the folder of data sets")
    return path
