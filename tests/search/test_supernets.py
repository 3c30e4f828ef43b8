"""Real supernets: convolutions, pools and batch norm split over devices under a mesh,
under pmap, and under the vmap of ZARTS' candidates; and programs compiled with the
settings of users."""

import jax
import pytest
from support.harness import (
    Move,
    assert_close,
    case,
    copy,
    forget,
    host,
    on_device,
    trajectory,
)
from support.tiny import TwoCells

from nasjax import nets
from nasjax.engine.compiling import compiler_options


@pytest.fixture(scope="module", autouse=True)
def no_programs_are_left():
    yield
    forget()


def supernet(space, classes, axis, auxiliary):
    """A supernet with depthwise convolutions, which once failed only on several devices."""
    del auxiliary  # the map is too small for an auxiliary head
    return nets.supernet(space, TwoCells(2, 2), classes, "shift", axis)


@pytest.fixture(scope="module")
def alone():
    """The moves of a search on one device."""
    names = "darts_second", "zarts_mgs"
    return {name: trajectory(name, "one", supernet) for name in names}


@pytest.mark.parametrize(
    ("sentence", "mode"),
    [("darts_second", "jit"), ("darts_second", "pmap"), ("zarts_mgs", "jit")],
)
def test_four_devices_equal_one(alone, sentence, mode):
    assert_close(alone[sentence], trajectory(sentence, mode, supernet))


@pytest.mark.parametrize("kind", ["weights", "alpha"])
def test_programs_compiled_as_users_do_compute_the_same(alone, kind):
    """Programs with optimisations and XLA's fusion emitters, which other tests disable."""
    this = case("darts_second", "one", supernet)
    expected = [move for move in alone["darts_second"] if move.kind == kind][-1]
    state = copy(on_device(expected.before), this.devices)
    lowered = this.programs[kind].lower(state, this.data)
    options = compiler_options()
    if jax.__version_info__ < (0, 11):  # see conftest.py
        options = {**options, "xla_cpu_use_fusion_emitters": True}
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        program = lowered.compile(options)
    finally:
        jax.config.update("jax_disable_most_optimizations", True)
    after, metrics = program(state, this.data)
    found = Move(kind, expected.before, host(after), host(metrics))
    assert_close([expected], [found])
