"""What the studies of this folder share."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nasjax.analysis import runs
from nasjax.analysis.commands import say, write

HERE = Path(__file__).parent
COLOURS = (  # of Okabe and Ito
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#000000", "#E69F00",
)  # fmt: skip


def described(run: runs.Run) -> dict[str, Any]:
    """What a row says of its run."""
    result = run.folder.read_outcome("result") or {}
    return {name: result[name] for name in ("algorithm", "seed", "true_accuracy")}


def study(
    name: str,
    measured: Callable[[runs.Run], dict],
    draw: Callable[[list[dict], Path], None],
    settings: dict[str, Any] | None = None,
    given: bool = False,
) -> list[dict]:
    """Measures the runs that the command line names; writes name.json and name.png.

    The JSON file is written after every run, so that a study that is stopped keeps the
    rows that it has. given: accept runs that trained a given architecture.
    """
    rows: list[dict] = []
    for path in sys.argv[1:]:
        rows.append(measured(runs.load(path, given=given)))
        say(f"{path}: {rows[-1]}")
        write(HERE / f"{name}.json", {**(settings or {}), "runs": rows})
    draw(rows, HERE / f"{name}.png")
    return rows
