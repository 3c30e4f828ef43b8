"""Signals of collapse over the epochs of a search: read from its log, drawn, judged."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nasjax.collapse.early_stopping import DARTS_ES, Stop, detect
from nasjax.plots import curves

Lines = Sequence[Mapping[str, Any]]

# Smallest share of operators without parameters at which a cell counts as collapsed.
HALF = 0.5


class Verdict(NamedTuple):
    """A judgement and its reasons.

    Attributes:
      word: "collapsed", "collapsing" or "healthy".
      reasons: sentences that give the reasons.
      stop: the stop by DARTS-ES; None without a stop, or without eigenvalues.
    """

    word: str
    reasons: tuple[str, ...]
    stop: Stop | None


def followed(lines: Lines, name: str = "search") -> list[Mapping[str, Any]]:
    """The lines of a search without the lines that were rolled back.

    Args:
      lines: lines of metrics.jsonl.
      name: name of the first phase; later phases are name_1, name_2, ...

    >>> log = [{"phase": "search", "step": s} for s in (1, 2, 3)]
    >>> [line["step"] for line in followed([*log, {"phase": "search_1", "step": 2}])]
    [1, 2]
    """
    kept: list[Mapping[str, Any]] = []
    for line in lines:
        phase, step = line.get("phase", ""), line.get("step", 0)
        if phase == name or phase.removeprefix(f"{name}_").isdecimal():
            while kept and kept[-1]["phase"] != phase and kept[-1]["step"] >= step:
                kept.pop()
            kept.append(line)
    return kept


def series(lines: Lines, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(epochs [T] from 1, values [T]) of a number that some lines contain."""
    seen = {line["epoch"]: line[name] for line in lines if line.get(name) is not None}
    return np.array(list(seen)), np.array(list(seen.values()))


def eigenvalues(lines: Lines) -> dict[int, float]:
    """Epoch from 0 -> dominant eigenvalue, NaN if it was not finite.

    >>> eigenvalues([{"epoch": 1, "eigenvalue": 0.5}, {"epoch": 3, "eigenvalue": None}])
    {0: 0.5, 2: nan}
    """
    return {
        line["epoch"] - 1: np.nan if line["eigenvalue"] is None else line["eigenvalue"]
        for line in lines
        if "eigenvalue" in line
    }


def detected(found: Mapping[int, float], epochs: int) -> Stop | None:
    """The stop by DARTS-ES for `eigenvalues` in a search of `epochs` epochs."""
    return detect(list(found), list(found.values()), epochs - 1)


def kinds(lines: Lines) -> list[str]:
    """The cell types of a log."""
    names = dict.fromkeys(name for line in lines for name in line)
    return [n.removeprefix("entropy_") for n in names if n.startswith("entropy_")]


def scores(lines: Lines) -> list[str]:
    """The scores that were measured before and after discretising."""
    names = dict.fromkeys(name for line in lines for name in line)
    found = [n.removeprefix("mixed_") for n in names if n.startswith("mixed_")]
    both = lambda n: [series(lines, f"{k}_{n}")[1] for k in ("mixed", "discretised")]
    return [name for name in found if all(map(len, both(name)))]


def verdict(lines: Lines, epochs: int) -> Verdict:
    """The verdict on the collapse of a search, with its reasons.

    "collapsed": in some cell type at least half of the operators have no parameters,
    and their share is larger than at the start. "collapsing": DARTS-ES would have
    stopped the search. Otherwise "healthy".

    Args:
      lines: lines returned by `followed`.
      epochs: number of epochs of the search.
    """
    reasons, collapsed = [], False
    for kind in kinds(lines):
        at, share = series(lines, f"parameter_free_{kind}")
        if not len(at):  # the log of an older version
            continue
        skips = series(lines, f"skip_{kind}")[1]
        collapsed |= bool(share[-1] >= HALF and share[-1] > share[0])
        grown = "" if not len(skips) else (
            f"; the mean weight of skip connections went from {skips[0]:.3f} to "
            f"{skips[-1]:.3f}"
        )  # fmt: skip
        reasons.append(
            f"{kind}: {share[-1]:.0%} of the operators have no parameters at epoch "
            f"{at[-1]} ({share[0]:.0%} at epoch {at[0]}, at most {share.max():.0%})"
            f"{grown}."
        )
    at, values = series(lines, "eigenvalue")
    stop = detected(eigenvalues(lines), epochs)
    if not len(at):
        reasons.append(
            "The dominant eigenvalue was not measured; search with "
            "--config.collapse.interval=2 to measure it."
        )
    else:
        reasons.append(
            f"dominant eigenvalue: {values[0]:.3g} at epoch {at[0]}, {values[-1]:.3g} at "
            f"epoch {at[-1]}, at most {values.max():.3g} at epoch {at[values.argmax()]}."
        )
        said = "does not stop it"
        if stop is not None:
            said = (
                f"stops it at epoch {stop.epoch_detected + 1} and returns to epoch "
                f"{stop.epoch_returned + 1}"
            )
        reasons.append(
            f"DARTS-ES (local averages of {DARTS_ES.window} eigenvalues growing by more "
            f"than {DARTS_ES.ratio}) {said}."
        )
        for score in scores(lines):
            form = "{:.1%}" if score == "accuracy" else "{:.4g}"
            mixed, chosen = (
                form.format(series(lines, f"{name}_{score}")[1][-1])
                for name in ("mixed", "discretised")
            )
            reasons.append(
                f"discretised, the supernet's {score} goes from {mixed} to {chosen} "
                "(last measurement)."
            )
    word = "collapsed" if collapsed else "collapsing" if stop else "healthy"
    return Verdict(word, tuple(reasons), stop)


def draw(lines: Lines, path: str | os.PathLike[str]) -> None:
    """Draws the signals over the epochs, one panel for each.

    Args:
      lines: lines returned by `followed`.
      path: the picture to write; its suffix is the format: .png, .svg or .pdf.

    Raises:
      UserError: the suffix is another one, or the file cannot be written.
    """
    own = kinds(lines)
    by_kind = lambda name: {kind: series(lines, f"{name}_{kind}") for kind in own}
    panels = {
        "dominant eigenvalue": {
            "largest": series(lines, "eigenvalue"),
            "largest in magnitude": series(lines, "eigenvalue_strongest"),
        },
        "trace of the Hessian": {"trace": series(lines, "hessian_trace")},
        **{
            f"validation {score}": {
                "supernet": series(lines, f"mixed_{score}"),
                "discretised": series(lines, f"discretised_{score}"),
            }
            for score in scores(lines)
        },
        "operators without parameters": by_kind("parameter_free"),
        "mean weight of skip connections": by_kind("skip"),
        "entropy of an edge (nats)": by_kind("entropy"),
        "width (c)": by_kind("width"),
        "depth": by_kind("depth"),
    }
    curves.plot_panels(panels, "epoch", path)
