import copy
import json
import os
import pickle

import numpy as np
import pytest

from nasjax.core.errors import UserError
from nasjax.spaces import SPACES, CellSpace, darts
from nasjax.spaces.genotype import (
    Genotype,
    check,
    discretise,
    load,
    one_hot,
    random_genotype,
)
from nasjax.spaces.published import PUBLISHED

DARTS = SPACES["darts"]
# The second-order cell of the DARTS paper, typed out as its file must read.
DARTS_V2 = {
    "format": 1,
    "space": "darts",
    "normal": [
        ["sep_conv_3x3", 0],
        ["sep_conv_3x3", 1],
        ["sep_conv_3x3", 0],
        ["sep_conv_3x3", 1],
        ["sep_conv_3x3", 1],
        ["skip_connect", 0],
        ["skip_connect", 0],
        ["dil_conv_3x3", 2],
    ],
    "reduce": [
        ["max_pool_3x3", 0],
        ["max_pool_3x3", 1],
        ["skip_connect", 2],
        ["max_pool_3x3", 1],
        ["max_pool_3x3", 0],
        ["skip_connect", 2],
        ["skip_connect", 2],
        ["max_pool_3x3", 1],
    ],
    "concat": [2, 3, 4, 5],
}


def changed(**fields):
    return {**copy.deepcopy(DARTS_V2), **fields}


def with_pair(index, pair, cell="normal"):
    data = copy.deepcopy(DARTS_V2)
    data[cell][index] = pair
    return data


def test_json_round_trip(tmp_path):
    genotype = Genotype.from_json(DARTS_V2)
    assert genotype == load("darts_v2") == load("DARTS_V2")
    assert genotype.to_json() == DARTS_V2
    genotype.save(tmp_path / "genotype.json")
    assert json.loads((tmp_path / "genotype.json").read_text()) == DARTS_V2
    assert load(tmp_path / "genotype.json") == load(tmp_path) == genotype
    assert os.listdir(tmp_path) == ["genotype.json"]


def test_both_json_forms_are_the_same_genotype():
    cells = {"reduce": DARTS_V2["reduce"], "normal": DARTS_V2["normal"]}
    general = {"format": 1, "space": "darts", "cells": cells, "concat": [2, 3, 4, 5]}
    genotype = Genotype.from_json(general)
    assert genotype == Genotype.from_json(DARTS_V2)
    assert list(genotype.cells) == ["normal", "reduce"]


def test_other_cell_types_are_written_under_cells():
    space = CellSpace("two", ("none", "skip_connect"), 1, ("cell_0", "cell_1"), picks=1)
    genotype = random_genotype(0, space)
    data = genotype.to_json()
    assert set(data) == {"format", "space", "cells", "concat"}
    assert set(data["cells"]) == {"cell_0", "cell_1"}
    assert Genotype.from_json(data, space) == genotype


def test_a_genotype_is_a_value():
    genotype = load("pdarts")
    assert len({genotype, copy.deepcopy(genotype), load("prdarts")}) == 2
    assert pickle.loads(pickle.dumps(genotype)) == genotype
    with pytest.raises(TypeError):
        genotype.cells["normal"] = ()
    with pytest.raises(AttributeError):
        genotype.space = "other"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "is a JSON object like"),
        (None, "not null"),
        ({}, "has no 'format'"),
        ({"format": 1}, "has no 'space'"),
        (changed(format=2), "says format 2"),
        (changed(space="dart"), "Unknown space 'dart'; did you mean 'darts'"),
        (changed(space=[1]), "Unknown space"),
        (changed(redcue=[]), "has the cells normal, reduce, redcue"),
        (changed(cells={}), "Unknown genotype field 'normal'"),
        (
            {"format": 1, "space": "darts", "cells": 3, "concat": [2]},
            "must map cell types",
        ),
        (
            {"format": 1, "space": "darts", "cells": {}, "concat": [2]},
            "has the cells nothing",
        ),
        (changed(normal={"a": 1}), "must be a list of [operation, source] pairs"),
        (changed(normal=DARTS_V2["normal"][:-1]), "has 7 [operation, source] pairs"),
        (with_pair(0, "sep_conv_3x3"), "needs an [operation, source] pair"),
        (with_pair(0, ["sep_conv_3x3"]), "needs an [operation, source] pair"),
        (with_pair(0, [0, "sep_conv_3x3"]), "needs an [operation, source] pair"),
        (with_pair(0, ["sep_conv_3x3", True]), "needs an [operation, source] pair"),
        (with_pair(0, ["sep_conv_3x3", 0.0]), "needs an [operation, source] pair"),
        (with_pair(0, ["sep_conv", 0]), "did you mean 'sep_conv_5x5' or '"),
        (with_pair(1, ["sep_conv_3x3", 2]), "of cell 'normal' reads from node 2"),
        (with_pair(7, ["skip_connect", 5], "reduce"), "only read from nodes 0 to 4"),
        (with_pair(0, ["skip_connect", -1]), "reads from node -1"),
        (changed(concat="2345"), '"concat" must be a list of node numbers'),
        (changed(concat=[2, 3, 4, True]), '"concat" must be a list of node numbers'),
        (changed(concat=[2, 3, 4]), "concatenates the nodes [2, 3, 4]"),
    ],
)
def test_malformed_json_is_one_sentence(data, sentence, tmp_path):
    with pytest.raises(UserError) as error:
        Genotype.from_json(data)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(data))
    with pytest.raises(UserError, match=r"mine\.json: "):
        load(file)


def test_of_another_space():
    other = CellSpace("other", DARTS.primitives)
    with pytest.raises(UserError, match="of space 'darts', but 'other' is expected"):
        Genotype.from_json(DARTS_V2, other)
    with pytest.raises(UserError, match="of space 'darts', but 'other' is expected"):
        load("darts_v2", other)
    with pytest.raises(UserError, match="Unknown primitive 'dil_conv_3x3'"):
        load("darts_v2", darts(("skip_connect", "sep_conv_3x3")))


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_files_that_are_not_json(content, tmp_path):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.json is not a JSON file"):
        load(tmp_path / "bad.json")


def test_names_that_do_not_exist(tmp_path):
    with pytest.raises(UserError, match=r"'darts_v3'; did you mean 'darts_v2'"):
        load("darts_v3")
    with pytest.raises(UserError, match="has not found an architecture yet"):
        load(tmp_path)
    with pytest.raises(UserError, match="Cannot write"):
        load("darts_v2").save(tmp_path / "missing" / "genotype.json")


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_are_of_the_space(name):
    check(PUBLISHED[name], DARTS)


def weights(space, rows):
    """Mixing weights 0, but for {(source, node): {primitive: weight}}."""
    mix = np.zeros((len(space.edges), len(space.primitives)))
    for edge, values in rows.items():
        for op, value in values.items():
            mix[space.edges.index(edge), space.primitives.index(op)] = value
    return dict.fromkeys(space.types, mix)


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


def test_discretise_ties():
    """All equal: the lowest sources, and the first operation after `none`."""
    shape = (14, 8)
    mix = {name: np.full(shape, 1 / 8, np.float32) for name in DARTS.types}
    for pairs in discretise(mix, DARTS).cells.values():
        assert pairs == (("max_pool_3x3", 0), ("max_pool_3x3", 1)) * 4
    # One stronger edge goes first; the lower of the equal others follows.
    mix["normal"][DARTS.edges.index((3, 5)), 3] = 0.2
    pairs = discretise(mix, DARTS).cells["normal"]
    assert pairs[6:] == (("skip_connect", 3), ("max_pool_3x3", 0))


def test_discretise_refuses():
    good = {name: np.full((14, 8), 0.125) for name in DARTS.types}
    with pytest.raises(UserError, match="Unknown cell type in the mixing weights"):
        discretise({"normal": good["normal"]}, DARTS)
    with pytest.raises(UserError, match=r"shape \(14, 7\)"):
        discretise({**good, "reduce": np.zeros((14, 7))}, DARTS)
    for value in (np.nan, np.inf):
        with pytest.raises(UserError, match="not finite"):
            discretise({**good, "reduce": np.full((14, 8), value)}, DARTS)
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
        assert mix[kind].shape == (14, 8) and mix[kind].dtype == np.float32
        assert mix[kind].sum() == 8
        # All strengths are 1, so the found pairs are ordered by source.
        for i in range(0, 8, 2):
            assert set(found.cells[kind][i : i + 2]) == set(pairs[i : i + 2])


def test_two_operations_from_one_source():
    """GDAS and PR-DARTS pick pairs, so both inputs of a node may share a source."""
    data = with_pair(1, ["skip_connect", 0])
    mix = one_hot(Genotype.from_json(data), DARTS)["normal"]
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
    return space, {"normal": mix, "reduce": mix.copy()}


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
    assert discretise(mix, space, most) == limited and mix["normal"][0, 0] == 0.90


def test_a_skip_stays_where_there_is_nothing_else():
    space = darts(("skip_connect", "none"))
    mix = {kind: np.full((14, 2), 0.5) for kind in space.types}
    pairs = discretise(mix, space, 0).cells["normal"]
    assert [op for op, _ in pairs] == ["skip_connect"] * 8
