"""Ranges of settings: every number has one, next to its default."""

import pytest
from ml_collections import ConfigDict

from nasjax.core.errors import UserError
from nasjax.core.limits import Range, above, at_least, one_of
from nasjax.experiment import defaults, validate
from nasjax.search import PARTS


def _numbers(fields):
    kinds = int | float
    return {
        k for k, v in fields.items() if type(v) is not bool and isinstance(v, kinds)
    }


@pytest.mark.parametrize("name", sorted(PARTS))
def test_every_number_of_a_part_has_a_range_that_holds_its_defaults(name):
    for scale in ("embedded", "small", "paper", "imagenet"):
        fields = PARTS[name].settings(scale)
        assert _numbers(fields) <= set(PARTS[name].limits) <= set(fields)
        for field, limit in PARTS[name].limits.items():
            limit.check(fields[field], field)


@pytest.mark.parametrize("group", sorted(set(validate.LIMITS) - {""}))
def test_every_number_of_a_group_has_a_range(group):
    fields = defaults.settings()[group]
    assert _numbers(fields) <= set(validate.LIMITS[group]) <= set(fields)


def test_every_number_of_the_config_itself_has_a_range():
    fields = {k: v for k, v in defaults.settings().items() if type(v) is not ConfigDict}
    assert _numbers(fields) - {"format"} <= set(validate.LIMITS[""]) <= set(fields)


@pytest.mark.parametrize(
    ("limit", "good", "bad", "words"),
    [
        (at_least(1), [1, 7], [0, 1.0, True, "1", None], "an integer from 1"),
        (
            at_least(0.0),
            [0, 0.5],
            [-1e-9, float("inf"), float("nan")],
            "a number from 0",
        ),
        (above(0.0), [1e-9], [0, 0.0], "a number above 0"),
        (Range(0.0, 1.0), [0.999], [1, 1.5], "from 0 to below 1"),
        (Range(0.0, 1.0, closed=True), [1], [1.1], "from 0 to 1"),
        (Range(0, 2**32), [2**32 - 1], [2**32], "to below 4294967296"),
        (one_of("cg", "neumann"), ["cg"], ["CG", 1], "Known: cg, neumann"),
    ],
)
def test_what_a_limit_takes(limit, good, bad, words):
    for value in good:
        limit.check(value, "config.x")
    for value in bad:
        with pytest.raises(UserError, match=words):
            limit.check(value, "config.x")
