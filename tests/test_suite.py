"""The settings of tests/conftest.py."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import conftest
import jax
import pytest

from nasjax.engine import compiling


def test_the_cache_is_not_the_users(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    off, auto = (compiling.compiled_programs(setting) for setting in ("off", "auto"))
    with off, auto as folder:  # for any JAX_COMPILATION_CACHE_DIR
        pass
    assert folder.is_relative_to(os.environ["XDG_CACHE_HOME"])
    assert not folder.is_relative_to(Path.home() / ".cache")
    assert os.environ["XDG_CACHE_HOME"].rpartition("/")[2].startswith("nasjax-tests-")


@pytest.mark.parametrize("part", ["setup", "call"])
@pytest.mark.parametrize(
    ("clock", "cpu", "marked", "fails"),
    [
        (21, 21, False, True),
        (21, 19, False, False),  # other processes had the CPU
        (19, 21, False, False),  # compiling is short, computing is long
        (21, 21, True, False),
    ],
)
def test_a_test_that_compiles_for_long_fails(
    monkeypatch, part, clock, cpu, marked, fails
):
    item = SimpleNamespace(nodeid="a", get_closest_marker=lambda name: marked or None)
    hook = {
        "setup": conftest.pytest_runtest_setup,
        "call": conftest.pytest_runtest_call,
    }
    running, begun = hook[part](item), time.process_time()
    with monkeypatch.context() as patch:
        patch.setattr(conftest, "LONGEST", 20)
        patch.setattr(conftest, "SECONDS", {"backend_compile_": 5.0})
        patch.setattr(conftest, "_slowness", lambda: 1)
        patch.setattr(time, "process_time", lambda: begun)
        next(running)
        jax.monitoring.record_event_duration_secs("/x/backend_compile_duration", clock)
        patch.setattr(time, "process_time", lambda: begun + cpu)
        expected = pytest.fail.Exception if fails else StopIteration
        with pytest.raises(
            expected, match=f"The {part} of a compiles for 21 s" if fails else None
        ):
            running.send(None)


def test_what_is_compiled_is_noticed():
    before = dict(conftest.SECONDS)
    jax.jit(lambda x: x + 1.25)(1.0)
    assert all(conftest.SECONDS[kind] > before[kind] for kind in conftest.COMPILING)
