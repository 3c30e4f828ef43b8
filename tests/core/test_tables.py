"""Tables check a row however it is added, and keep the meaning of a dictionary."""

import operator

import pytest

from nasjax.core.errors import UserError
from nasjax.core.tables import Table

WAYS = {
    "assignment": lambda table, row: table.__setitem__("x", row),
    "update": lambda table, row: table.update({"x": row}),
    "update by pairs": lambda table, row: table.update([("x", row)]),
    "update by name": lambda table, row: table.update(x=row),
    "in place": lambda table, row: operator.ior(table, {"x": row}),
    "default": lambda table, row: table.setdefault("x", row),
}


def made():
    return Table("TABLE", "a function", callable, {"old": len})


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_add_a_row_checks_it(way):
    table = made()
    with pytest.raises(UserError, match=r"TABLE\['x'\] is set to an int; expected a f"):
        WAYS[way](table, 3)
    assert table == {"old": len}
    WAYS[way](table, max)
    assert table == {"old": len, "x": max} and isinstance(table, Table)


def test_names_of_rows():
    table = made()
    for add in (table.update, table.__ior__):
        with pytest.raises(
            UserError, match="A row of TABLE is called 3; expected a na"
        ):
            add({3: max})
    with pytest.raises(UserError, match="is called ''"):
        table.setdefault("", max)


def test_a_default_is_the_row_that_is_there():
    table = made()
    assert table.setdefault("old", 3) is len and table.setdefault("new", max) is max
    with pytest.raises(UserError, match="NoneType"):
        table.setdefault("none")
    table.update()
    assert list(table) == ["old", "new"]
