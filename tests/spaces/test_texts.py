"""Genotypes as other codes print them: read without running them, or refused."""

import pytest

from nasjax.core.errors import UserError
from nasjax.spaces.known import NASBENCH_201
from nasjax.spaces.load import load
from nasjax.spaces.nasbench201 import to_string
from nasjax.spaces.published import PUBLISHED
from nasjax.spaces.texts import NASLIB

NORMAL, REDUCE = (
    repr(list(PUBLISHED["darts_v2"].cells[kind])) for kind in ("normal", "reduce")
)
PRINTED = (
    f"Genotype(normal={NORMAL}, normal_concat=range(2, 6), "
    f"reduce={REDUCE}, reduce_concat=[2, 3, 4, 5])"
)
STRING = (
    "|avg_pool_3x3~0|+|skip_connect~0|none~1|"
    "+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_1x1~2|"
)
LOGGED = f"12/30 01:02:03 PM genotype = {PRINTED}"
DICTIONARY = (
    f"{{'normal': {NORMAL}, 'normal_concat': [2, 3, 4, 5], "
    f"'reduce': {REDUCE}, 'reduce_concat': [2, 3, 4, 5]}}"
)


@pytest.mark.parametrize(
    "text",
    [
        PRINTED,
        PRINTED.replace("'", '"').replace("), (", "),\n  ("),
        PRINTED.replace("[2, 3, 4, 5]", "[2,3,4,np.int64(5)]"),
        PRINTED.replace("range(2, 6)", "list(range(2,6))"),
        f"DARTS_V2 = genotypes.{PRINTED}",
        LOGGED + " epoch 50",
        f"Genotype(reduce={REDUCE}, normal={NORMAL})",
        f"Genotype({NORMAL}, range(2, 6), {REDUCE}, range(2, 6))",
        DICTIONARY,
        DICTIONARY.replace("'", '"').replace("(", "[").replace(")", "]"),
    ],
)
def test_prints_of_darts_code(text):
    assert load(text) == PUBLISHED["darts_v2"]


@pytest.mark.parametrize(
    "text",
    [
        STRING,
        f"Structure(4 nodes with {STRING})",
        "(4, 0, 3, 1, 4, 3)",  # the edges 01 02 03 12 13 23
        "[4,0,3,1,4,3]",
        "4, 0, 3, 1, 4, 3",
        "('avg_pool_3x3', 'skip_connect', 'none', 'nor_conv_1x1', 'avg_pool_3x3', "
        "'nor_conv_1x1')",
        "[[('avg_pool_3x3', 0)], [('skip_connect', 0), ('none', 1)], "
        "[('nor_conv_1x1', 0), ('avg_pool_3x3', 1), ('nor_conv_1x1', 2)]]",
    ],
)
def test_notations_of_nasbench_201(text):
    assert to_string(load(text)) == STRING


def test_naslib_has_the_same_operations():
    assert set(NASLIB) == set(NASBENCH_201)


def test_files_hold_json_or_text(tmp_path):
    log = tmp_path / "log.txt"
    other = LOGGED.replace("dil_conv_3x3", "sep_conv_3x3")
    log.write_text(f"{other}\ntrain 001 2.3\n{LOGGED}\nvalid_acc 91\n")
    assert load(log) == PUBLISHED["darts_v2"]
    (tmp_path / "genotype.json").write_text(PRINTED)
    assert load(tmp_path) == PUBLISHED["darts_v2"]
    log.write_text(LOGGED.replace("range(2, 6)", "range(4, 6)"))
    with pytest.raises(UserError, match=r"log.txt: .* is \[4, 5\]; only cells"):
        load(log)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sep_conv_3x3", "nor_conv_3x3", "did you mean 'sep_conv_3x3'"),
        ("skip_connect", "Identity", "did you mean 'skip_connect'"),
        (", ('dil_conv_3x3', 2)", "", "7 .* pairs, but space 'darts' needs 8"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)", "only read from nodes 0 to 4"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3',)", "needs an .operation, source"),
        ("range(2, 6)", "range(2, 7)", r"normal_concat is \[2, 3, 4, 5, 6\]; only"),
        ("range(2, 6)", "range(2, 1000000000)", "'range.*' is not expected"),
        ("range(2, 6)", "list(2)", "is not expected"),
        ("range(2, 6)", "open('secret')", "is not expected"),
        ("[2, 3, 4, 5])", "[2, 3", "does not end: a bracket is open"),
        ("reduce=", "second=", "no field 'reduce'"),
        ("normal=", "recurrent=", "recurrent cell"),
    ],
)
def test_wrong_prints_are_refused(old, new, message):
    assert old in PRINTED
    with pytest.raises(UserError, match=message):
        load(PRINTED.replace(old, new))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(1, 2, 3)", "six numbers from 0 to 4"),
        ("(9, 0, 0, 0, 0, 0)", "six numbers from 0 to 4"),
        ("('none', 'none')", "6 operations, not 2"),
        ("('zero',) * 6", "Unknown genotype"),
        ("['zero', 'none', 'none', 'none', 'none', 'none']", "did you mean 'none'"),
        ('{"a": 1}', "no 'format'"),
        ("{'a': ", "is not JSON"),
        ("Genotype(" + "[" * 9999 + "]" * 9999 + ")", "cannot be read"),
        ("(" * 9999 + ",", r"Unknown genotype '\({60}... \(10,000 characters"),
        ("x" * 9999, r"Unknown genotype 'x{60}... \(9,999 characters"),
        ("a\0b", "Unknown genotype"),
        ("", "Unknown genotype"),
    ],
)
def test_other_texts_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        load(text)
