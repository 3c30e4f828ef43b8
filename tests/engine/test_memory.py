import jax
import jax.numpy as jnp
import pytest

from nasjax.core.errors import UserError
from nasjax.engine import memory


def test_what_a_compiled_program_needs():
    x = jax.ShapeDtypeStruct((1000, 1000), jnp.float32)
    double = jax.jit(lambda x: 2 * x).lower(x).compile()
    assert memory.needed(double) == 8_000_000
    donated = jax.jit(lambda x: 2 * x, donate_argnums=0).lower(x).compile()
    assert memory.needed(donated) == 4_000_000


def test_the_report_names_every_step():
    planned = {"weight": 2_000_000, "arch": 3_500_000_000}
    line = memory.report("search", planned, jax.devices()[:1], "")
    assert "weight 2 MB, arch 3.5 GB, of " in line
    assert "arch 14.0 GB" in memory.report("search", planned, jax.devices()[:4], "")


def test_what_cannot_fit_is_refused():
    planned = {"weight": 10, "arch": 10**15}
    with pytest.raises(UserError, match=r"its arch step needs 1000000\.0 GB .*; lower"):
        memory.report("search", planned, jax.devices()[:1], "lower the batch.")


def test_this_machine_says_how_much_it_has():
    assert memory.available(jax.devices()[0]) > 10**8
