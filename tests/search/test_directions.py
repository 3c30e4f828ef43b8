from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import parallel
from nasjax.search.base import SearchState
from nasjax.search.directions import zero_order
from nasjax.zeroth import mgs


@pytest.mark.parametrize("chunk", [1, 2, 3, 4])
def test_chunks_of_candidates_change_nothing(chunk):
    arch = {"normal": jnp.linspace(-1, 1, 6).reshape(3, 2)}
    method = mgs(4, lambda count: 0.1, 1.0, 0.5, "likelihood")
    state = SearchState(*[None] * 4, arch, None, method.init(arch, jax.random.key(0)))

    def objective(state, arch, train, val):
        return jnp.sum(jnp.sin(arch["normal"]) * val)

    def step(chunk):
        problem = SimpleNamespace(candidates=parallel.in_chunks)
        direction = zero_order(problem, "mgs", method, objective, 1, chunk=chunk)
        run = jax.jit(lambda val: direction.step(state, None, val, jax.random.key(1)))
        return run(jnp.float32(2.0))

    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    jax.tree.map(close, step(chunk), step(0))
