"""Real supernets, split over devices: convolutions, pools and batch norm under a mesh,
under pmap, and under the vmap of ZARTS' candidates that are split over devices."""

import pytest
from harness import assert_close, forget, trajectory
from tiny import TwoCells

from nasjax import nets


@pytest.fixture(scope="module", autouse=True)
def no_programs_are_left():
    yield
    forget()


def supernet(space, classes, axis, auxiliary):
    """Depthwise convolutions: only on several devices did they once fail."""
    del auxiliary  # the map it looks at is too small
    return nets.supernet(space, TwoCells(2, 2), classes, "shift", axis)


@pytest.mark.parametrize(
    ("algorithm", "mode"),
    [("darts_second", "jit"), ("darts_second", "pmap"), ("zarts_mgs", "jit")],
)
def test_four_devices_equal_one(algorithm, mode):
    one = trajectory(algorithm, "one", supernet)
    assert_close(one, trajectory(algorithm, mode, supernet))
