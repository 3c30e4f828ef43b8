import copy
import json
import os
import pickle

import pytest

from nasjax.core.errors import UserError
from nasjax.spaces import SPACES, CellSpace, darts
from nasjax.spaces.genotype import Genotype, check
from nasjax.spaces.load import load
from nasjax.spaces.published import PUBLISHED
from nasjax.spaces.rules import random_genotype

DARTS = SPACES["darts"]
# The second-order cell of the DARTS paper, typed out as in its file.
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
        (changed(format=2), "has format 2"),
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
