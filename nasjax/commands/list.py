"""List the algorithms, spaces, published cells and data sets."""

from __future__ import annotations

from collections.abc import Sequence

from nasjax.data.sources import EXTERNAL, SOURCES
from nasjax.engine.program import Parser
from nasjax.experiment.show import table, wrap
from nasjax.search.algorithms import PARTS, partners
from nasjax.spaces import SPACES
from nasjax.spaces.published import PUBLISHED


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    Parser(prog="nasjax list", description=__doc__).parse_args(argv)
    moves = {name: part.about for name, part in PARTS.items() if part.moves}
    changes = {
        name: f"{part.about} With: {', '.join(partners(name))}."
        for name, part in PARTS.items()
        if not part.moves
    }
    spaces = {}
    for name, space in SPACES.items():
        own = f"{space.alpha_shape(space.types[0])[1]} of " if space.lists else ""
        each = ", fixed for each edge" if space.lists else ""
        names = ", ".join(space.primitives)
        spaces[name] = f"{own}{len(space.primitives)} operations{each}: {names}"
    data = {name: load.__doc__ for name, load in SOURCES.items()}
    data |= dict.fromkeys(EXTERNAL, "Bring the file: --config.data.path=FILE.npz")
    parts = (
        table("Algorithms: how alpha moves (name one)", moves),
        table("Changes of the search, joined to an algorithm by +", changes),
        table("Spaces", spaces),
        "Published cells (usable as GENOTYPE)\n" + wrap(", ".join(PUBLISHED), "  "),
        table("Data sets", data),
    )
    print("\n\n".join(parts))
    return 0
