"""`none` in architectures: barred in NAS-Bench-201, refused where edges are pruned."""

import jax
import numpy as np
import pytest
from support.harness import composed, config

from nasjax.core.errors import UserError
from nasjax.experiment import validate
from nasjax.experiment.defaults import settings
from nasjax.search.base import Search
from nasjax.search.bilevel import Bilevel
from nasjax.spaces import NASBENCH_201, SPACES, Weights
from nasjax.spaces.genotype import Genotype, check
from nasjax.spaces.nasbench201 import from_string, to_string
from nasjax.spaces.rules import discretise, draw, random_genotypes

BENCH = SPACES["nasbench201"]
# By edge: `none` strongest, `none` second, `none` the same as another, ...
OPS = np.array(
    [
        [0.5, 0.1, 0.1, 0.2, 0.1],
        [0.3, 0.1, 0.4, 0.1, 0.1],
        [0.3, 0.1, 0.1, 0.3, 0.2],
        [0.0, 0.0, 0.0, 0.0, 1.0],
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.9, 0.0, 0.02, 0.03, 0.05],
    ]
)
KEPT = "|none~0|+|nor_conv_1x1~0|none~1|+|avg_pool_3x3~0|none~1|none~2|"
BARRED = (
    "|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|"
    "+|avg_pool_3x3~0|skip_connect~1|avg_pool_3x3~2|"
)


def space(name="nasbench201", none="auto", **more):
    given = settings()
    given.space.update(name=name, none=none, **more)
    return validate.of_run(given)


def test_a_mix_has_two_readings():
    mix = {"cell": Weights(OPS)}
    for none, text in (("auto", KEPT), ("kept", KEPT), ("barred", BARRED)):
        found = discretise(mix, space(none=none))
        assert to_string(found) == text and from_string(text) == found
        assert Genotype.from_json(found.to_json()) == found
    both = space(none="barred").readings()
    texts = {name: to_string(discretise(mix, own)) for name, own in both.items()}
    assert texts == {"with_none": KEPT, "without_none": BARRED}


def test_a_search_between_architectures_has_one_reading():
    """A one-hot `none` says nothing about the other operations."""
    mix = {"cell": Weights(np.eye(5, dtype=np.float32)[[0, 1, 2, 3, 4, 0]])}
    for sentence, names in (
        ("random_search", ["with_none"]),
        ("darts_first", ["with_none", "without_none"]),
    ):
        relaxation = composed(sentence, config()).relaxation(BENCH, 1e-3)
        fields = dict.fromkeys(Bilevel._fields)
        problem = Bilevel(**fields | {"space": BENCH, "relaxation": relaxation})
        found = Search(problem, None, None, ()).readings(mix)
        assert [*found] == names
        assert "none" in dict(found["with_none"].cells["cell"])


@pytest.mark.parametrize(("none", "some"), [("kept", True), ("barred", False)])
def test_random_architectures_obey(none, some):
    own = space(none=none)
    drawn = jax.vmap(lambda key: draw(key, own)["cell"].ops)(
        jax.random.split(jax.random.key(0), 50)
    )
    assert (drawn.sum(-1) == 1).all()
    assert bool(drawn[..., NASBENCH_201.index("none")].any()) == some
    cells = random_genotypes(0, own, 50)
    for cell in cells:
        check(cell, own)
    assert any(op == "none" for cell in cells for op, _ in cell.cells["cell"]) == some


def test_a_space_that_keeps_its_strongest_edges_refuses_none():
    for given in (
        {"name": "darts"},
        {"name": "s3"},
        {"name": "s3", "edges": "fixed"},
        {"name": "darts", "share": False},
        {"name": "", "primitives": ("none", "skip_connect")},
    ):
        assert space(**given, none="barred") == space(**given)
        with pytest.raises(UserError, match="take the place of an edge that carries"):
            space(**given, none="kept")
    with pytest.raises(UserError, match=r"has no operation 'none' \(it has noise, sep"):
        space("s4", "kept")
    assert space("s4", "barred") == SPACES["s4"]


def test_an_own_space_that_keeps_all_edges_may_hold_it(monkeypatch):
    own = BENCH._replace(name="own", none=False, primitives=("none", "skip_connect"))
    monkeypatch.setitem(SPACES, "own", own)
    assert space("own", "kept").none and not space("own").none
    monkeypatch.setitem(SPACES, "own", own._replace(primitives=("skip_connect",)))
    with pytest.raises(UserError, match="has no operation 'none'"):
        space("own", "kept")
    monkeypatch.setitem(SPACES, "own", own._replace(primitives=("none",), none=True))
    assert space("own").readings() == {}
