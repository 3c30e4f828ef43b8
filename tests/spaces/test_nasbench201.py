"""Strings and graph classes against published counts and a column of the table."""

import os
from pathlib import Path

import pytest

from nasjax.core.errors import UserError
from nasjax.spaces.nasbench201 import (
    architectures,
    canonical,
    from_string,
    numbers,
    to_string,
)
from nasjax.spaces.published import PUBLISHED
from nasjax.spaces.table import Table

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DATA = Path(os.environ.get("NASJAX_DATA", SHARED)) / "nasbench201" / "nasbench201.csv"

# The best on CIFAR-10, index 6111 of the benchmark.
BEST = (
    "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+"
    "|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
)


def cell(ops):
    """An architecture by the initials of its operations, edge by edge."""
    names = {
        "n": "none",
        "s": "skip_connect",
        "1": "nor_conv_1x1",
        "3": "nor_conv_3x3",
        "p": "avg_pool_3x3",
    }
    a, b, c, d, e, f = (names[op] for op in ops)
    return from_string(f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|")


def test_a_string_names_the_edges_in_the_order_of_the_space():
    pairs = (
        ("nor_conv_3x3", 0),
        ("nor_conv_3x3", 0),
        ("nor_conv_3x3", 1),
        ("skip_connect", 0),
        ("nor_conv_3x3", 1),
        ("nor_conv_1x1", 2),
    )
    assert from_string(BEST).cells["cell"] == pairs
    assert to_string(from_string(BEST)) == BEST


def test_all_architectures_and_their_strings():
    every = [to_string(genotype) for genotype in architectures()]
    assert len(set(every)) == 15_625
    assert all(numbers()[text] == index for index, text in enumerate(every))
    assert [from_string(text) for text in every[::100]] == list(architectures())[::100]


@pytest.mark.parametrize(
    ("ops", "number"),
    [("nnnnnn", 0), ("nnnnns", 1), ("nnnnsn", 5), ("3nnnnp", 3 * 3125 + 4)],
)
def test_numbers_have_the_first_edge_as_their_highest_digit(ops, number):
    assert numbers()[to_string(cell(ops))] == number


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "a string like |op~0|+.*, not a NoneType"),
        ("", "has 1 of the 3 parts"),
        (BEST + "+|none~0|", "has 4 of the 3 parts"),
        (BEST[1:], "Node 1 .* must begin and end with '|'; write |op~0|"),
        (BEST + "\n", "Node 3 .* must begin and end"),
        (
            BEST.replace("|+|", "|none~1|+|", 1),
            "Node 1 .* has 2 operations instead of 1",
        ),
        (
            BEST.replace("|skip_connect~0", ""),
            "Node 3 .* has 2 operations instead of 3",
        ),
        (BEST.replace("x1~2", "x1~3"), "'nor_conv_1x1~3' where op~2 is expected"),
        (BEST.replace("~2", ""), "'nor_conv_1x1' where op~2 is expected"),
        (
            BEST.replace("skip_connect", "skip_conect"),
            "primitive 'skip_conect'; did you mean 'skip_c",
        ),
        (BEST.replace("skip_connect", ""), "Unknown primitive ''"),
    ],
)
def test_malformed_strings(text, sentence):
    with pytest.raises(UserError, match=sentence.replace("|", r"\|")):
        from_string(text)


@pytest.mark.parametrize("function", [to_string, canonical])
def test_genotypes_of_other_spaces(function):
    with pytest.raises(UserError, match="of space 'darts', but 'nasbench201'"):
        function(PUBLISHED["darts_v2"])


def test_there_are_6466_classes_of_graphs():
    """Dong and Yang's count of cells that are not isomorphic."""
    assert len({canonical(genotype) for genotype in architectures()}) == 6_466


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("s3nnn1", "sn3nn1", True),  # node 1 is the input, so it may be read instead
        ("n333n3", "n313n3", True),  # an operation on zeros does not matter
        ("13s331", "31s331", False),
        ("3nnsnn", "1nnsnn", True),  # nothing reads node 1
        ("nnn3nn", "nnn1nn", False),
        ("33nn31", "33nn13", False),  # the same, but for zeros added to node 2
        ("s3s33s", "s3s333", False),
    ],
)
def test_isomorphic_cells(one, other, same):
    assert (canonical(cell(one)) == canonical(cell(other))) is same


@pytest.mark.skipif(not DATA.exists(), reason="needs NASJAX_DATA/nasbench201")
def test_the_classes_are_those_of_the_table():
    table = Table.read(DATA)
    ours = [canonical(from_string(text)) for text in table.architectures]
    theirs = table.column("iso_class").tolist()
    both = set(zip(ours, theirs, strict=True))
    assert len(both) == len(set(ours)) == len(set(theirs)) == 6_466
