"""Genotypes read off mixing weights, one-hot weights and random genotypes."""

import numpy as np
import pytest

from nasjax.core.errors import UserError
from nasjax.spaces import SPACES, Weights, darts
from nasjax.spaces.genotype import Genotype, check
from nasjax.spaces.load import load
from nasjax.spaces.published import PUBLISHED
from nasjax.spaces.rules import discretise, one_hot, random_genotype

DARTS = SPACES["darts"]


def weights(space, rows):
    """Mixing weights that are 0 except for {(source, node): {primitive: weight}}."""
    mix = np.zeros((len(space.edges), len(space.primitives)))
    for edge, values in rows.items():
        for op, value in values.items():
            mix[space.edges.index(edge), space.primitives.index(op)] = value
    return dict.fromkeys(space.types, Weights(mix))


def test_discretise_ignores_none():
    # Edge (0, 3) is strong through `none` alone, so (1, 3) and (2, 3) are kept; on
    # (1, 3) `none` is the strongest operation, so the second strongest is taken.
    mix = weights(
        DARTS,
        {
            (0, 3): {"none": 0.9, "skip_connect": 0.1},
            (1, 3): {"none": 0.6, "max_pool_3x3": 0.2, "dil_conv_5x5": 0.3},
            (2, 3): {"sep_conv_5x5": 0.4},
        },
    )
    genotype = discretise(mix, DARTS)
    for pairs in genotype.cells.values():
        assert pairs[2:4] == (("sep_conv_5x5", 2), ("dil_conv_5x5", 1))
    assert genotype.space == "darts" and genotype.concat == (2, 3, 4, 5)
    check(genotype, DARTS)


def test_edge_weights_change_which_edges_are_kept():
    """Node 3 keeps 0 and 1 by operations alone, 2 and 0 where edge (2, 3) counts 4."""
    ops = weights(
        DARTS,
        {
            (0, 3): {"skip_connect": 0.5, "sep_conv_3x3": 0.2},
            (1, 3): {"max_pool_3x3": 0.4},
            (2, 3): {"none": 0.6, "dil_conv_3x3": 0.3, "dil_conv_5x5": 0.1},
        },
    )["normal"].ops
    edges = np.ones(14)
    edges[DARTS.edges.index((2, 3))] = 4
    for scale, expected in (
        (None, (("skip_connect", 0), ("max_pool_3x3", 1))),
        (np.ones(14), (("skip_connect", 0), ("max_pool_3x3", 1))),
        (edges, (("dil_conv_3x3", 2), ("skip_connect", 0))),
    ):
        mix = dict.fromkeys(DARTS.types, Weights(ops, scale))
        assert discretise(mix, DARTS).cells["normal"][2:4] == expected


def test_discretise_ties():
    """All equal: the lowest sources, and the first operation after `none`."""
    shape = (14, 8)
    mix = {name: Weights(np.full(shape, 1 / 8, np.float32)) for name in DARTS.types}
    for pairs in discretise(mix, DARTS).cells.values():
        assert pairs == (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4
    # One stronger edge goes first; the lower of the equal others follows.
    mix["normal"].ops[DARTS.edges.index((3, 5)), 3] = 0.2
    pairs = discretise(mix, DARTS).cells["normal"]
    assert pairs[6:] == (("skip_connect", 3), ("max_pool_3x3", 0))


def test_discretise_refuses():
    even = np.full((14, 8), 0.125)
    good = {name: Weights(even) for name in DARTS.types}
    with pytest.raises(UserError, match="Unknown cell type in the mixing weights"):
        discretise({"normal": good["normal"]}, DARTS)
    with pytest.raises(UserError, match=r"shape \(14, 7\)"):
        discretise({**good, "reduce": Weights(np.zeros((14, 7)))}, DARTS)
    for value in (np.nan, np.inf):
        with pytest.raises(UserError, match="not finite"):
            discretise({**good, "reduce": Weights(np.full((14, 8), value))}, DARTS)
        with pytest.raises(UserError, match="not finite"):
            discretise({**good, "reduce": Weights(even, np.full(14, value))}, DARTS)
    for shape in ((13,), (14, 1)):
        with pytest.raises(UserError, match=r"edge weights .* needs \(14,\)"):
            discretise({**good, "reduce": Weights(even, np.ones(shape))}, DARTS)
    with pytest.raises(UserError, match="no primitive besides 'none'"):
        discretise(good, darts(("none",)))


@pytest.mark.parametrize("space", [SPACES["darts"], SPACES["darts7"]])
def test_random_genotypes(space):
    drawn = [random_genotype(seed, space) for seed in range(300)]
    assert drawn[:5] == [random_genotype(seed, space) for seed in range(5)]
    assert len(set(drawn)) == 300
    ops, sources = [], []
    for genotype in drawn:
        check(genotype, space)
        for pairs in genotype.cells.values():
            ops += [op for op, _ in pairs]
            for first, second in zip(pairs[::2], pairs[1::2], strict=True):
                assert first[1] != second[1]
            sources += [source for _, source in pairs[6:]]
    assert "none" not in ops
    # 4800 operations, 1200 sources of the last node: uniform within 5 standard errors.
    counts = np.array([ops.count(op) for op in space.primitives if op != "none"])
    assert np.abs(counts - 4800 / 7).max() < 5 * np.sqrt(4800 * 6 / 49)
    counts = np.bincount(sources, minlength=5)
    assert np.abs(counts - 240).max() < 5 * np.sqrt(600 * 0.24)


@pytest.mark.parametrize("name", PUBLISHED)
def test_one_hot_is_undone_by_discretise(name):
    genotype = load(name)
    mix = one_hot(genotype, DARTS)
    found = discretise(mix, DARTS)
    for kind, pairs in genotype.cells.items():
        ops, edges, extra = mix[kind]
        assert ops.shape == (14, 8) and ops.dtype == np.float32
        assert ops.sum() == 8 and edges is None and extra is None
        # All strengths are 1, so the found pairs are ordered by source.
        for i in range(0, 8, 2):
            assert set(found.cells[kind][i : i + 2]) == set(pairs[i : i + 2])


def test_two_operations_from_one_source():
    """GDAS and PR-DARTS pick pairs, so both inputs of a node may share a source."""
    pairs = (
        ("sep_conv_3x3", 0),
        ("skip_connect", 0),
        *load("darts_v2").cells["normal"][2:],
    )
    genotype = Genotype(
        "darts", load("darts_v2").cells | {"normal": pairs}, (2, 3, 4, 5)
    )
    mix = one_hot(genotype, DARTS)["normal"].ops
    row = dict(zip(DARTS.primitives, mix[DARTS.edges.index((0, 2))], strict=True))
    assert row["sep_conv_3x3"] == row["skip_connect"] == 1 and sum(row.values()) == 2
    with pytest.raises(UserError, match="Unknown primitive"):
        one_hot(load("darts_v2"), darts(("none", "skip_connect")))


def weights_with_skips():
    """The normal cell keeps skips on 5 edges, of weights 0.90 to 0.94; sep3 is next."""
    space = darts(("skip_connect", "sep_conv_3x3"))
    mix = np.tile([0.2, 0.3], (14, 1))
    for index, row in enumerate((0, 1, 3, 6, 12)):
        mix[row] = 0.90 + 0.01 * index, 0.05
    return space, {"normal": Weights(mix), "reduce": Weights(mix.copy())}


@pytest.mark.parametrize("most", [0, 1, 2, 5, 8])
def test_a_limit_on_skips_takes_the_weakest_away_from_normal_cells(most):
    space, mix = weights_with_skips()
    free, limited = discretise(mix, space), discretise(mix, space, most)
    count = lambda kind, found: [op for op, _ in found.cells[kind]].count(
        "skip_connect"
    )
    assert count("normal", free) == 5
    assert count("normal", limited) == min(most, 5)
    assert limited.cells["reduce"] == free.cells["reduce"]
    kept = {(op, s) for op, s in limited.cells["normal"][6:]}
    # The strongest, 0.94 on the edge from node 3 to node 5, goes last.
    assert (("skip_connect", 3) in kept) == (most > 0)
    assert discretise(mix, space, most) == limited and mix["normal"].ops[0, 0] == 0.90


def test_a_skip_stays_where_there_is_nothing_else():
    space = darts(("skip_connect", "none"))
    mix = {kind: Weights(np.full((14, 2), 0.5)) for kind in space.types}
    pairs = discretise(mix, space, 0).cells["normal"]
    assert [op for op, _ in pairs] == ["skip_connect"] * 8
