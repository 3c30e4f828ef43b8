"""Genotypes in the notations that other codes print.

    Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6),
             reduce=[...], reduce_concat=range(2, 6))

is the print of DARTS' code and of its forks, alone or within a log. The same fields may
come as a dictionary. Cells of NAS-Bench-201 come as its string, as six operations in the
order of the string, and as NASLib's tuple of six numbers, such as (4, 0, 3, 1, 4, 3).
NASLib has another order of edges (by source, then by target) and of operations.
Texts are parsed, never evaluated.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from nasjax.core.errors import UserError, short
from nasjax.spaces.cells import CellSpace
from nasjax.spaces.genotype import EXAMPLE, Genotype, check
from nasjax.spaces.known import known_space
from nasjax.spaces.nasbench201 import from_operations, from_string

FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")  # in DARTS' order
NASLIB = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
_NASLIB_EDGES = (0, 1, 3, 2, 4, 5)  # of the string's edges: 01 02 12 03 13 23
_MEANT = {
    "avg_pool": "avg_pool_3x3",
    "conv_1x1": "nor_conv_1x1",
    "conv_3x3": "nor_conv_3x3",
    "id": "skip_connect",
    "identity": "skip_connect",
    "max_pool": "max_pool_3x3",
    "skip": "skip_connect",
    "zero": "none",
    "zeroize": "none",
}
_MOST = 100  # numbers in a range


def read(text: str, space: CellSpace | None = None) -> Genotype | None:
    """The genotype in a text; the last one in a log. None if the text has none.

    Args:
      text: any text.
      space: the required space; None: a known one.

    Raises:
      UserError: the text has the form of a genotype, but no such genotype exists.

    >>> read("(4, 0, 3, 1, 4, 3)") == read("[4,0,3,1,4,3]")
    True
    >>> read("darts_v2") is None
    True
    """
    if text.lstrip().startswith("{"):
        return _mapping(text, space)
    found = _printed(text, space)
    if found and space:
        check(found, space)
    return found


def _printed(text: str, space: CellSpace | None) -> Genotype | None:
    """`read` of anything but a mapping; in any space if the required one has another
    kind of cells."""
    if "Genotype(" in text:
        return _darts(_call(text[text.rindex("Genotype(") :]), space)
    if text.lstrip().startswith("|"):
        return from_string(text.strip())
    if strings := re.findall(r"\|[^\s|]+~0\|\+\S*\|", text):  # within AutoDL's print
        return from_string(strings[-1])
    if not re.match(r"\s*[\[(\d]", text) or "," not in text:
        return None
    try:
        value = _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None  # may be the name of a file
    return _nasbench(value) if isinstance(value, list) else None


def _mapping(text: str, space: CellSpace | None) -> Genotype:
    """The genotype of a JSON object, or of a printed dictionary of DARTS' fields."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as reason:
        try:
            data = _value(ast.parse(text.strip(), mode="eval").body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise UserError(
                f"The genotype {short(text)!r} is not JSON ({reason}); a genotype looks "
                f"like {EXAMPLE}."
            ) from None
    if isinstance(data, Mapping) and "format" not in data and "normal" in data:
        return _darts(data, space)
    return Genotype.from_json(data, space)


def _call(text: str) -> dict[str, Any]:
    """The fields of the `Genotype(...)` at the beginning of a text."""
    depth = end = 0
    for letter in text:
        end += 1
        depth += (letter in "([{") - (letter in ")]}")
        if letter in ")]}" and not depth:
            break
    else:
        raise UserError(
            f"The genotype {short(text)!r} does not end: a bracket is open. Copy all of "
            "it, up to its last ')', and put it in quotes."
        )
    try:
        call = ast.parse(text[:end], mode="eval").body
        assert isinstance(call, ast.Call)
        given = [(FIELDS[i], node) for i, node in enumerate(call.args)]
        given += [(word.arg or "**", word.value) for word in call.keywords]
        return {name: _value(node) for name, node in given}
    except (SyntaxError, ValueError, IndexError, RecursionError, MemoryError) as error:
        raise UserError(
            f"The genotype {short(text)!r} cannot be read ({short(str(error))}); it "
            "looks like Genotype(normal=[('sep_conv_3x3', 1), ...], "
            "normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))."
        ) from None


def _value(node: ast.AST) -> Any:
    """The value of literals, `range`, `list`, `tuple`, and numbers of numpy."""
    match node:
        case ast.Constant(value=value) if isinstance(value, str | int | float):
            return value
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part) for part in parts]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = zip(keys, values, strict=True)
            return {str(_value(k)): _value(v) for k, v in pairs if k}
        case ast.Call(func=ast.Name(id="range"), args=[_, *_] as ends, keywords=[]):
            numbers = range(*map(_integer, ends))
            if len(numbers) <= _MOST:
                return list(numbers)
        case ast.Call(func=ast.Name(id="list" | "tuple"), args=[part], keywords=[]):
            if isinstance(inner := _value(part), list):
                return inner
        case ast.Call(
            func=ast.Attribute(value=ast.Name(id="np" | "numpy"), attr=kind),
            args=[part],
            keywords=[],
        ) if kind.startswith(("int", "uint")):
            return _integer(part)
    raise ValueError(f"{short(ast.unparse(node))!r} is not expected there")


def _integer(node: ast.AST) -> int:
    value = _value(node)
    if type(value) is not int:
        raise ValueError(f"{value!r} is not an integer")
    return value


def _darts(fields: Mapping[str, Any], space: CellSpace | None) -> Genotype:
    """The genotype with the fields of DARTS' print."""
    if "recurrent" in fields:
        raise UserError(
            "The genotype is a recurrent cell of DARTS; nasjax has convolutional cells, "
            "with the fields normal and reduce."
        )
    for name in ("normal", "reduce"):
        if name not in fields:
            raise UserError(
                f"The genotype has no field {name!r}; it needs normal and reduce, "
                f"and has {', '.join(fields) or 'none'}."
            )
    if space is None or space.name != "darts":
        space = known_space("darts")
    for name in ("normal_concat", "reduce_concat"):
        concat = fields.get(name, list(space.concat))
        if concat != list(space.concat):
            raise UserError(
                f"The genotype's {name} is {concat!r}; only cells that concatenate the "
                f"nodes {list(space.concat)}, as DARTS' cells do, are supported."
            )
    cells = {kind: _pairs(kind, fields[kind]) for kind in ("normal", "reduce")}
    genotype = Genotype(space.name, cells, space.concat)
    check(genotype, space)
    return genotype


def _pairs(kind: str, cell: Any) -> tuple[tuple[str, int], ...]:
    """The (operation, source) pairs of a cell, which may be grouped by node."""
    found: list[tuple[str, int]] = []
    for part in cell if isinstance(cell, list) else [cell]:
        match part:
            case [str() as op, int() as source] if not isinstance(source, bool):
                _spelling(op)
                found.append((op, source))
            case [[*_], *_]:
                found += _pairs(kind, part)
            case _:
                raise UserError(
                    f"Cell {kind!r} holds {short(repr(part))} where it needs an "
                    "(operation, source) pair such as ('sep_conv_3x3', 0)."
                )
    return tuple(found)


def _spelling(op: str) -> None:
    """Refuses a name that other codes use, with the name that is meant."""
    meant = _MEANT.get(op.lower())
    if meant:
        raise UserError(f"Unknown primitive {op!r}; did you mean {meant!r}?")


def _nasbench(value: list[Any]) -> Genotype:
    """The NAS-Bench-201 cell of six numbers or operations, or of pairs by node."""
    if value and all(isinstance(part, list) for part in value):
        ops = [op for op, _ in _pairs("cell", value)]
        return from_operations(ops)
    for op in value:
        if isinstance(op, str):
            _spelling(op)
    if any(type(op) is not int for op in value):
        return from_operations(value)
    if len(value) != 6 or not all(0 <= op < len(NASLIB) for op in value):
        raise UserError(
            f"The architecture {short(str(tuple(value)))} is not one of NAS-Bench-201: "
            "it needs six numbers from 0 to 4, in NASLib's order, of "
            f"{', '.join(NASLIB)}."
        )
    by_source = dict(zip(_NASLIB_EDGES, value, strict=True))
    return from_operations([NASLIB[by_source[edge]] for edge in range(6)])
