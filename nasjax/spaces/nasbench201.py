"""The architectures of NAS-Bench-201: their strings, numbers and graph classes.

Dong, Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture
Search", ICLR 2020, arXiv 2001.00326. A cell has the nodes 0 to 3 and one of five
operations on each of its six edges. The benchmark's own files write it as a string,

    |op~0|+|op~0|op~1|+|op~0|op~1|op~2|

one part for each of the nodes 1, 2 and 3, in which op~s is the operation on the edge
from node s.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from nasjax.core.errors import UserError, unknown
from nasjax.spaces.genotype import Genotype, check
from nasjax.spaces.known import NASBENCH_201, SPACES

SPACE = SPACES["nasbench201"]
_FORM = "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|"


def to_string(genotype: Genotype) -> str:
    """The benchmark's string of a genotype.

    Raises:
      UserError: the genotype is not of the space "nasbench201".

    >>> to_string(next(architectures()))
    '|none~0|+|none~0|none~1|+|none~0|none~1|none~2|'
    """
    check(genotype, SPACE)
    return _text([op for op, _ in genotype.cells["cell"]])


def from_string(text: str) -> Genotype:
    """The genotype of a string of the benchmark.

    Raises:
      UserError: text is not of that form, or names an operation of another space.

    >>> text = "|skip_connect~0|+|none~0|none~1|+|none~0|none~1|avg_pool_3x3~2|"
    >>> from_string(text).cells["cell"][-1]
    ('avg_pool_3x3', 2)
    """
    if not isinstance(text, str):
        raise UserError(
            f"An architecture is a string like {_FORM}, not a {type(text).__name__}."
        )
    parts = text.split("+")
    if len(parts) != SPACE.nodes:
        raise UserError(
            f"The architecture {text!r} has {len(parts)} of the 3 parts between '+' "
            f"that it needs, one for each node; write {_FORM}."
        )
    pairs = [pair for node, part in enumerate(parts, 1) for pair in _node(node, part)]
    return Genotype(SPACE.name, {"cell": tuple(pairs)}, SPACE.concat)


def from_operations(ops: Sequence[object]) -> Genotype:
    """The genotype of six operations, in the order in which its string has them.

    Raises:
      UserError: there are not six, or one is an operation of another space.
    """
    if len(ops) != len(SPACE.edges):
        raise UserError(
            f"An architecture of NAS-Bench-201 has {len(SPACE.edges)} operations, not "
            f"{len(ops)}; write them in the order of {_FORM}."
        )
    for op in ops:
        if op not in NASBENCH_201:
            raise unknown("primitive", op, NASBENCH_201)
    return from_string(_text([str(op) for op in ops]))


def _node(node: int, part: str) -> Iterator[tuple[str, int]]:
    """The (operation, source) pairs of a node, from its part of the string."""
    form = "|" + "".join(f"op~{source}|" for source in range(node))
    if len(part) < 2 or part[0] != "|" or part[-1] != "|":
        raise UserError(
            f"Node {node} of the architecture is {part!r}, but must begin and end with "
            f"'|'; write {form}."
        )
    words = part[1:-1].split("|")
    if len(words) != node:
        raise UserError(
            f"Node {node} of the architecture, {part!r}, has {len(words)} operations "
            f"instead of {node}; write {form}."
        )
    for source, word in enumerate(words):
        op, mark, given = word.rpartition("~")
        if not mark or given != str(source):
            raise UserError(
                f"Node {node} of the architecture has {word!r} where op~{source} is "
                f"expected: an operation, '~' and the node it reads from; write {form}."
            )
        if op not in NASBENCH_201:
            raise unknown("primitive", op, NASBENCH_201)
        yield op, source


def architectures() -> Iterator[Genotype]:
    """All 15,625 genotypes in the order of their `numbers`.

    >>> sum(1 for _ in architectures())
    15625
    """
    sources = [source for source, _ in SPACE.edges]
    for ops in itertools.product(NASBENCH_201, repeat=len(sources)):
        cell = tuple(zip(ops, sources, strict=True))
        yield Genotype(SPACE.name, {"cell": cell}, SPACE.concat)


@functools.cache
def numbers() -> Mapping[str, int]:
    """String -> number of every architecture: the operations as digits to base 5.

    The digit of an operation is its index in `NASBENCH_201`; the first edge has the
    highest digit. A table in this order is an array [5, 5, 5, 5, 5, 5] with one axis
    per edge. The benchmark's own index differs and follows no rule.

    >>> numbers()["|none~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"]
    129
    """
    every = itertools.product(NASBENCH_201, repeat=len(SPACE.edges))
    return MappingProxyType({_text(ops): index for index, ops in enumerate(every)})


def canonical(genotype: Genotype) -> str:
    """An expression of the cell that is equal for isomorphic cells: 6,466 of them.

    `skip_connect` is replaced by its source; `none` and operations on zeros by zeros,
    written "#". The terms of a node are sorted. This is `to_unique_str` of the
    benchmark's code with its limits: "#" stays a term of the sum, and sums within sums
    stay nested. Some cells that compute the same therefore have two expressions.

    Raises:
      UserError: the genotype is not of the space "nasbench201".

    >>> a = "|skip_connect~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|nor_conv_1x1~2|"
    >>> b = "|skip_connect~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|nor_conv_1x1~2|"
    >>> canonical(from_string(a)), canonical(from_string(a)) == canonical(from_string(b))
    ('#+#+(#+(0)@nor_conv_3x3)@nor_conv_1x1', True)
    """
    check(genotype, SPACE)
    nodes = ["0"]
    for node in range(1, SPACE.nodes + 1):
        first = node * (node - 1) // 2
        terms = []
        for op, source in genotype.cells["cell"][first : first + node]:
            if op == "none" or nodes[source] == "#":
                terms.append("#")
            elif op == "skip_connect":
                terms.append(nodes[source])
            else:
                terms.append(f"({nodes[source]})@{op}")
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def _text(ops: Sequence[str]) -> str:
    a, b, c, d, e, f = ops
    return f"|{a}~0|+|{b}~0|{c}~1|+|{d}~0|{e}~1|{f}~2|"
