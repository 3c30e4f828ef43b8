"""Sentences: valid combinations of parts, and the messages for invalid ones."""

import pytest

from nasjax.core.errors import UserError
from nasjax.search import PARTS, compose, parse
from nasjax.search.algorithms import default_settings, partners


def composed(sentence):
    return compose(sentence, {name: default_settings(name) for name in parse(sentence)})


def test_the_part_that_moves_alpha_comes_first_and_need_not_be_named():
    assert parse("sdarts_rs+zarts_mgs") == ("zarts_mgs", "sdarts_rs")
    assert parse("sdarts_adv") == ("darts_first", "sdarts_adv")
    assert parse("sanas+sdarts_rs") == ("darts_second", "sanas", "sdarts_rs")
    assert parse("budget") == ("zarts_gld", "budget")


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("dart_first", "algorithm 'dart_first'; did you mean 'darts_first'"),
        ("", "algorithm ''"),
        ("sdarts_rs+sdarts_rs", "names a part twice"),
        ("amended+implicit", "amended and implicit both move alpha"),
        ("sdarts_rs+sdarts_adv", "both choose the perturbation of the weight step"),
        ("amended+sanas", "moves alpha in another way"),
        ("darts_first+budget", r"budget has no derivative.* zarts_gld\+budget"),
    ],
)
def test_what_does_not_compose_is_refused(sentence, words):
    with pytest.raises(UserError, match=words):
        composed(sentence)


def test_who_composes_with_whom():
    moving = {name for name, part in PARTS.items() if part.moves}
    gradients = {"amended", "darts_first", "darts_second", "implicit"}
    assert moving | {"sanas", "budget"} <= {*partners("sdarts_rs")}
    assert "sdarts_adv" not in partners("sdarts_rs")  # both perturb the weight step
    assert moving & {*partners("budget")} == moving - gradients
    assert moving & {*partners("sanas")} == {"darts_first", "darts_second"}
    for name in moving:
        assert not moving & {*partners(name)}
