"""The spaces that configs and genotype files name, and their primitives.

s1 to s4 are the spaces on which searches collapse in Zela et al., "Understanding and
Robustifying Differentiable Architecture Search", ICLR 2020, arXiv 1909.09656.
darts_no_skip and the spaces of eight nodes, whose cells concatenate the last four, are
from DARTS-Bench-Suite, Jha et al., "confopt", AutoML 2025, arXiv 2507.16533.
"""

from __future__ import annotations

from nasjax.core.errors import unregistered
from nasjax.core.tables import Table
from nasjax.spaces.cells import CellSpace

DARTS_8 = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
DARTS_7 = DARTS_8[1:]  # without `none`: the search space of ZARTS and SmoothDARTS
NASBENCH_201 = (
    "none",
    "skip_connect",
    "nor_conv_1x1",
    "nor_conv_3x3",
    "avg_pool_3x3",
)
NO_SKIP = tuple(op for op in DARTS_8 if op != "skip_connect")
AMENDED_S2 = ("skip_connect", "sep_conv_3x3")  # in the paper with one alpha per cell
AMENDED_S3 = ("none", "skip_connect", "sep_conv_3x3")  # also S3 of R-DARTS


def darts(primitives: tuple[str, ...] = DARTS_8) -> CellSpace:
    """The DARTS space over any list of primitives."""
    return CellSpace("darts", tuple(primitives))


def _eight_nodes(primitives: tuple[str, ...]) -> CellSpace:
    return CellSpace("darts_8_nodes", primitives, nodes=8, output=(6, 7, 8, 9))


def _s1() -> CellSpace:
    """S1 of R-DARTS: two operations on each edge, the best of a search in stages."""
    short = {
        "skip": "skip_connect", "max": "max_pool_3x3", "avg": "avg_pool_3x3",
        "sep3": "sep_conv_3x3", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5",
    }  # fmt: skip
    cells = (
        "skip dil3, skip dil5, skip dil5, skip sep3, skip dil3, max skip, skip sep3, "
        "skip sep3, skip dil3, skip sep3, max skip, skip dil3, dil3 dil5, dil3 dil5",
        "max avg, max dil3, max avg, max avg, skip dil5, max avg, max sep3, "
        "skip dil3, skip dil5, max avg, max avg, skip dil5, skip dil5, skip dil5",
    )
    lists = tuple(
        tuple(tuple(short[op] for op in edge.split()) for edge in cell.split(", "))
        for cell in cells
    )
    union = tuple(op for op in DARTS_8 if op in {*sum(lists[0] + lists[1], ())})
    return CellSpace("darts", union, lists=lists)


SPACES = Table(
    "nasjax.spaces.SPACES",
    "a nasjax.spaces.CellSpace",
    lambda space: isinstance(space, CellSpace),
    {
        "darts": darts(),
        "darts7": darts(DARTS_7),
        "darts_no_skip": darts(NO_SKIP),
        "darts_8_nodes": _eight_nodes(DARTS_8),
        "darts_8_nodes_no_skip": _eight_nodes(NO_SKIP),
        "amended_s2": darts(AMENDED_S2),
        "amended_s3": darts(AMENDED_S3),
        "s1": _s1(),
        "s2": darts(("skip_connect", "sep_conv_3x3")),
        "s3": darts(("none", "skip_connect", "sep_conv_3x3")),
        "s4": darts(("noise", "sep_conv_3x3")),
        "nasbench201": CellSpace(
            "nasbench201",
            NASBENCH_201,
            nodes=3,
            types=("cell",),
            inputs=1,
            picks=3,
            output=(3,),
            none=True,
            reduction="block",
            pool_norm=False,
        ),
    },
)


def known_space(name: object) -> CellSpace:
    """The space of that name, with the operations of all spaces of that name.

    Raises:
      UserError: no space in `nasjax.spaces.SPACES` has that name.
    """
    own = [space for space in SPACES.values() if space.name == name]
    if not own:
        raise unregistered("space", name, {space.name for space in SPACES.values()})
    union = tuple(dict.fromkeys(op for space in own for op in space.primitives))
    return own[0]._replace(primitives=union, lists=None)
