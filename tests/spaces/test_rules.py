"""The rule against an independent implementation, on the host and in programs."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.spaces import SPACES, Weights, darts
from nasjax.spaces.genotype import check
from nasjax.spaces.mix import strength
from nasjax.spaces.rules import (
    choose,
    decode,
    discretise,
    draw,
    one_hot,
    random_genotype,
)

DARTS = SPACES["darts"]
EVERY = {
    **SPACES,
    "fixed": DARTS.fixed(),
    "separate": SPACES["s1"].separate(3),
    "skips": darts(("skip_connect", "none")),
}


def best(values):
    """The name of the largest value, the first in case of ties."""
    return max(values, key=values.get)


def picked(node, values, picks):
    """The sources that a node keeps: the strongest of all sets, the first of ties."""
    strong = {s: max(values[s, t].values()) for s, t in values if t == node}
    sets = itertools.combinations(strong, min(picks, len(strong)))
    return max(sets, key=lambda kept: sorted((strong[s] for s in kept), reverse=True))


def oracle(ops, edges, space, kind, most):
    """{(source, target): operation} of a cell type, by search among all sets of edges."""
    values = {
        edge: {
            op: value * scale
            for op, value in zip(names, row, strict=True)
            if space.none or op != "none"
        }
        for edge, names, row, scale in zip(
            space.edges_of(kind), space.choices(kind), ops, edges, strict=True
        )
    }
    while True:
        found = {
            (s, node): best(values[s, node])
            for node in space.intermediate
            for s in picked(node, values, space.picks)
        }
        skips = {
            edge: values[edge]["skip_connect"]
            for edge in space.edges_of(kind)
            if found.get(edge) == "skip_connect"
        }
        if most is None or space.role(kind) != "normal" or len(skips) <= most:
            return found
        weakest = min(skips, key=skips.get)
        if skips[weakest] < 0:
            return found
        values[weakest]["skip_connect"] = -1.0


def some_mix(space, draws, levels, edges):
    """Weights in steps of 1 / 4, with many ties; edges of powers of 2 or none."""
    mix = {}
    for kind in space.types:
        shape = space.alpha_shape(kind)
        ops = (draws.integers(0, levels, shape) / 4).astype(np.float32)
        scale = np.float32(2) ** draws.integers(-1, 2, shape[0]).astype(np.float32)
        mix[kind] = Weights(ops, scale if edges else None)
    return mix


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(
    ("edges", "most"),
    [(False, None), (True, None), (False, 0), (True, 1), (False, 2), (True, 5)],
)
def test_the_rule_is_that_of_the_oracle(name, edges, most):
    space, draws = EVERY[name], np.random.default_rng(0)
    for levels in (2, 3, 4, 1000) * 3:
        mix = some_mix(space, draws, levels, edges)
        chosen = choose(mix, space, most)
        genotype = discretise(mix, space, most)
        check(genotype, space)
        for kind in space.types:
            ops, scale, _ = mix[kind]
            scale = np.ones(len(ops)) if scale is None else scale
            found = oracle(ops, scale, space, kind, most)
            hard, *rest = chosen[kind]
            assert type(hard) is np.ndarray and hard.dtype == np.float32
            assert rest == [None, None] and set(np.unique(hard)) <= {0, 1}
            assert found == {
                space.edges_of(kind)[row]: space.choices(kind)[row][column]
                for row, column in np.argwhere(hard)
            }
            pairs = zip(genotype.cells[kind], space.targets, strict=True)
            assert found == {(source, node): op for (op, source), node in pairs}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("edges", "most"), [(False, None), (True, 1)])
def test_programs_choose_as_numpy_does(name, edges, most):
    space, draws = EVERY[name], np.random.default_rng(1)
    every = [some_mix(space, draws, levels, edges) for levels in (2, 3, 4, 1000) * 5]
    expected = [choose(mix, space, most) for mix in every]
    stack = lambda *leaves: np.stack(leaves)
    run = jax.jit(jax.vmap(lambda mix: choose(mix, space, most)))
    found = run(jax.tree.map(stack, *every))
    jax.tree.map(np.testing.assert_array_equal, found, jax.tree.map(stack, *expected))
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(found))
    mix = jax.tree.map(jnp.asarray, every[0])
    assert discretise(mix, space, most) == discretise(every[0], space, most)


def test_choices_have_the_dtype_of_the_weights_and_no_derivative():
    mix = some_mix(DARTS, np.random.default_rng(0), 1000, True)
    small = {kind: Weights(jnp.asarray(w.ops, jnp.bfloat16)) for kind, w in mix.items()}
    assert choose(small, DARTS, 1)["normal"].ops.dtype == jnp.bfloat16
    mix = jax.tree.map(jnp.asarray, mix)
    total = lambda mix: (choose(mix, DARTS, 1)["normal"].ops * mix["normal"].ops).sum()
    slope = jax.jit(jax.grad(total))(mix)["normal"]
    np.testing.assert_array_equal(slope.ops, choose(mix, DARTS, 1)["normal"].ops)
    assert not slope.edges.any()


def test_edge_weights_do_not_change_an_operation():
    """Holds for edge weights of 0 and for ops that are equal after the product."""
    all_kept = DARTS._replace(picks=5)
    draws = np.random.default_rng(0)
    for scale in (0.0, 1e-44, 0.37, 3.0):
        low = draws.uniform(0.5, 1, (14, 8)).astype(np.float32)
        low[:, 5] = np.nextafter(low.max(1), np.float32(2))
        for space in (all_kept, DARTS):
            plain = dict.fromkeys(DARTS.types, Weights(low))
            edges = np.full(14, scale, np.float32)
            scaled = dict.fromkeys(DARTS.types, Weights(low, edges))
            a, b = (
                choose(plain, space)["normal"].ops,
                choose(scaled, space)["normal"].ops,
            )
            assert {*np.argwhere(a)[:, 1], *np.argwhere(b)[:, 1]} == {5}
            assert a.sum() == b.sum() == len(space.targets)


def test_the_limit_on_skips_takes_the_weakest_by_strength():
    """The skip with the larger operation weight goes: its edge weight is small."""
    space = darts(("skip_connect", "sep_conv_3x3"))
    ops = np.tile([0.0, 0.1], (14, 1))
    ops[0], ops[1] = (0.9, 0.05), (0.8, 0.05)
    edges = np.ones(14)
    edges[0] = 0.5
    for scale, kept in ((None, 0), (edges, 1)):
        mix = dict.fromkeys(space.types, Weights(ops, scale))
        pairs = discretise(mix, space, 1).cells["normal"][:2]
        assert pairs == (("skip_connect", kept), ("sep_conv_3x3", 1 - kept))


def test_decode_lists_a_node_s_pairs_from_the_strongest_down():
    draws = np.random.default_rng(0)
    chosen = one_hot(random_genotype(0, DARTS), DARTS)
    mix = some_mix(DARTS, draws, 1000, True)
    by = {kind: strength(weights) for kind, weights in mix.items()}
    for kind, pairs in decode(chosen, mix, DARTS).cells.items():
        rows = [
            (DARTS.edges.index((source, node)), DARTS.primitives.index(op))
            for (op, source), node in zip(pairs, DARTS.targets, strict=True)
        ]
        assert sorted(rows) == [tuple(at) for at in np.argwhere(chosen[kind].ops)]
        assert all(by[kind][rows[i]] >= by[kind][rows[i + 1]] for i in range(0, 8, 2))
    bench = SPACES["nasbench201"]
    mix = some_mix(bench, draws, 1000, False)
    pairs = decode(choose(mix, bench), mix, bench).cells["cell"]
    assert [source for _, source in pairs] == [0, 0, 1, 0, 1, 2]


def test_draws_are_those_of_earlier_versions():
    """(edge, operation) of the draw from key 0; see also tests/search/test_relax.py."""
    drawn = draw(jax.random.key(0), DARTS)
    assert {kind: np.argwhere(w.ops).tolist() for kind, w in drawn.items()} == {
        "normal": [[0, 6], [1, 4], [2, 4], [3, 4], [7, 5], [8, 2], [11, 3], [13, 5]],
        "reduce": [[0, 7], [1, 4], [3, 5], [4, 6], [6, 7], [7, 4], [9, 4], [11, 5]],
    }
    for ops, edges, extra in drawn.values():
        assert ops.dtype == jnp.float32 and ops.sum() == 8
        assert edges is None and extra is None
    check(decode(drawn, drawn, DARTS), DARTS)
