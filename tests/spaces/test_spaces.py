import pytest

from nasjax.core.errors import UserError
from nasjax.nets.operations import OPERATIONS
from nasjax.spaces import (
    DARTS_7,
    DARTS_8,
    NASBENCH_201,
    SPACES,
    CellPlan,
    Macro,
    darts,
)


def test_primitives_are_in_the_order_of_the_darts_code():
    assert DARTS_8 == (
        "none",
        "max_pool_3x3",
        "avg_pool_3x3",
        "skip_connect",
        "sep_conv_3x3",
        "sep_conv_5x5",
        "dil_conv_3x3",
        "dil_conv_5x5",
    )
    assert "none" not in DARTS_7 and len(DARTS_7) == 7
    assert {*DARTS_8, "noise", *NASBENCH_201} == set(OPERATIONS)
    assert {name: len(space.primitives) for name, space in SPACES.items()} == {
        "darts": 8,
        "darts7": 7,
        "darts_no_skip": 7,
        "darts_8_nodes": 8,
        "darts_8_nodes_no_skip": 7,
        "amended_s2": 2,
        "amended_s3": 3,
        "s1": 6,
        "s2": 2,
        "s3": 3,
        "s4": 2,
        "nasbench201": 5,
    }


@pytest.mark.parametrize(
    "name", [name for name, space in SPACES.items() if space.name == "darts"]
)
def test_edges(name):
    """2 + 3 + 4 + 5 edges, by target and then by source."""
    space = SPACES[name]
    assert space.edges == (
        (0, 2), (1, 2),
        (0, 3), (1, 3), (2, 3),
        (0, 4), (1, 4), (2, 4), (3, 4),
        (0, 5), (1, 5), (2, 5), (3, 5), (4, 5),
    )  # fmt: skip
    assert space.concat == (2, 3, 4, 5)
    assert space.types == ("normal", "reduce")


def test_any_list_of_primitives():
    space = darts(["skip_connect", "sep_conv_3x3"])
    assert space.primitives == ("skip_connect", "sep_conv_3x3")
    assert hash(space) == hash(darts(("skip_connect", "sep_conv_3x3")))


@pytest.mark.parametrize(
    ("cells", "reductions"),
    [(20, (6, 13)), (14, (4, 9)), (8, (2, 5)), (5, (1, 3)), (3, (1, 2)), (1, (0,))],
)
def test_reductions(cells, reductions):
    macro = Macro(16, cells)
    assert macro.reductions == reductions
    kinds = [plan.type for plan in macro.plan()]
    assert len(kinds) == cells
    assert [i for i, kind in enumerate(kinds) if kind == "reduce"] == list(reductions)


def test_the_search_network_of_the_darts_paper():
    assert Macro(16, 8).plan() == (
        CellPlan("normal", 16, (1, 1), (48, 48)),
        CellPlan("normal", 16, (1, 1), (48, 64)),
        CellPlan("reduce", 32, (1, 1), (64, 64)),
        CellPlan("normal", 32, (2, 1), (64, 128)),
        CellPlan("normal", 32, (1, 1), (128, 128)),
        CellPlan("reduce", 64, (1, 1), (128, 128)),
        CellPlan("normal", 64, (2, 1), (128, 256)),
        CellPlan("normal", 64, (1, 1), (256, 256)),
    )


def test_the_imagenet_network_of_the_darts_paper():
    """The first cell's inputs are 56 and 28 pixels wide."""
    macro = Macro(48, 14, "imagenet")
    plan = macro.plan()
    assert plan[0] == CellPlan("normal", 48, (2, 1), (48, 48))
    assert plan[1] == CellPlan("normal", 48, (1, 1), (48, 192))
    assert plan[-1] == CellPlan("normal", 192, (1, 1), (768, 768))
    assert macro.map_sizes(224) == (28,) * 4 + (14,) * 5 + (7,) * 5


@pytest.mark.parametrize(
    ("side", "sizes"),
    [
        (32, (32, 16, 8)),
        (8, (8, 4, 2)),
        (25, (25, 13, 7)),
        (28, (28, 14, 7)),
        (30, (30, 15, 8)),
        (50, (50, 25, 13)),
        (4, (4, 2, 1)),
    ],
)
def test_every_halving_rounds_up(side, sizes):
    assert Macro(4, 3).map_sizes(side) == sizes


@pytest.mark.parametrize(
    ("macro", "side", "sentence"),
    [
        (Macro(4, 3), 3, "3x3 are too small for 2 reductions.* smallest size is 4;"),
        (Macro(4, 1), 1, "1x1 are too small for 1 reductions.* smallest size is 2;"),
        (Macro(4, 3, "imagenet"), 24, "the imagenet stem the smallest size is 32;"),
        (Macro(3, 3, "imagenet"), 64, "halves its channels, and 3 is odd"),
        (Macro(0, 3), 8, "got 3 cells and 0 channels"),
        (Macro(4, 0), 8, "got 0 cells and 4 channels"),
    ],
)
def test_networks_that_cannot_be(macro, side, sentence):
    with pytest.raises(UserError, match=sentence):
        macro.map_sizes(side)
