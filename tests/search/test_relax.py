"""Relaxations, and the uniform draw of an architecture, by counting."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.search import relax
from nasjax.spaces import DARTS_8, Weights, darts
from nasjax.tasks.base import At

SPACE = darts()
DRAWS = 6000


def test_softmax_sums_to_one_over_the_operators():
    space = darts()._replace(types=("normal",))
    arch = {"normal": jnp.log(jnp.array([[1.0, 3.0], [2.0, 2.0]]))}
    mix = relax.softmax(space).mix(arch, At())["normal"]
    np.testing.assert_allclose(mix.ops, [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6)
    assert mix.edges is None


def test_without_a_key_an_architecture_is_its_own_mixing_weights():
    arch = {"normal": Weights(jnp.ones((2, 2)))}
    assert relax.uniform(SPACE).mix(arch, At()) is arch


@pytest.fixture(scope="module")
def drawn():
    """Draws by type of cell: type -> [DRAWS, E, O]."""
    sample = relax.uniform(SPACE).mix
    keys = jax.random.split(jax.random.key(0), DRAWS)
    mix = jax.device_get(jax.jit(jax.vmap(lambda key: sample(None, At(key))))(keys))
    return {kind: own.ops for kind, own in mix.items()}


def uniform(counts):
    """True if Pearson's statistic is less than 6 standard deviations above its mean."""
    counts = np.asarray(counts, float)
    expected, freedom = counts.mean(), counts.size - 1
    statistic = np.square(counts - expected).sum() / expected
    return statistic <= freedom + 6 * np.sqrt(2 * freedom)


def test_every_draw_is_an_architecture(drawn):
    assert set(drawn) == {"normal", "reduce"}
    for mix in drawn.values():
        assert mix.shape == (DRAWS, 14, 8)
        assert mix.dtype == np.float32
        assert set(np.unique(mix)) == {0.0, 1.0}
        assert mix.sum(2).max() == 1, "one operator on an edge"
        assert mix[:, :, DARTS_8.index("none")].max() == 0
        for node in range(2, 6):
            edges = [e for e, (_, target) in enumerate(SPACE.edges) if target == node]
            assert (mix[:, edges].sum((1, 2)) == 2).all(), "two incoming edges"


def test_pairs_of_edges_are_uniform(drawn):
    for mix in drawn.values():
        kept = mix.sum(2).astype(int)
        for node in range(3, 6):
            edges = [e for e, (_, target) in enumerate(SPACE.edges) if target == node]
            counts = [
                (kept[:, a] & kept[:, b]).sum()
                for a, b in itertools.combinations(edges, 2)
            ]
            assert sum(counts) == DRAWS
            assert uniform(counts)


def test_operators_are_uniform_on_every_edge(drawn):
    for mix in drawn.values():
        assert all(uniform(counts[1:]) for counts in mix.sum(0))


def test_draws_are_independent_between_edges_and_cell_types(drawn):
    """Independence of operators on edges 0 and 1, which all draws keep, and of types."""
    one, two = drawn["normal"][:, 0, 1:], drawn["normal"][:, 1, 1:]
    other = drawn["reduce"][:, 0, 1:]
    assert uniform(one.T @ two)
    assert uniform(one.T @ other)


def test_operators_are_drawn_apart_from_edges(drawn):
    """Independence of the operator of edge 0, which every draw keeps, and the pair of
    edges that a node keeps."""
    for mix in drawn.values():
        operators, kept = mix[:, 0, 1:].astype(int), mix.sum(2).astype(int)
        for node in range(3, 6):
            edges = [e for e, (_, target) in enumerate(SPACE.edges) if target == node]
            pairs = list(itertools.combinations(edges, 2))
            both = np.stack([kept[:, a] * kept[:, b] for a, b in pairs], 1)
            table = operators.T @ both
            assert table.shape == (7, len(pairs)) and table.sum() == DRAWS
            assert uniform(table)


def test_another_key_is_another_architecture_and_the_same_key_the_same():
    sample = relax.uniform(darts(("none", "skip_connect", "max_pool_3x3"))).mix
    keys = map(jax.random.key, (0, 0, 1))
    first, again, other = (sample(None, At(key)) for key in keys)
    for kind in first:
        np.testing.assert_array_equal(first[kind].ops, again[kind].ops)
    assert any((first[kind].ops != other[kind].ops).any() for kind in first)
