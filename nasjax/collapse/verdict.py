"""Signals of collapse over the epochs of a search: read from its log and judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from nasjax.collapse.early_stopping import DARTS_ES, Stop, detect
from nasjax.spaces import CellSpace

Lines = Sequence[Mapping[str, Any]]

LEVEL = 0.05  # share of random architectures that would count as collapsed
OPEN = 0.95  # entropy, relative to its maximum, above which alpha has not decided
KEPT = 0.75  # share of edges whose leading operation a settled alpha does not change
SIGNS = {
    "parameter_free": ("has no parameters", "have no parameters"),
    "kept_skips": ("is a skip connection", "are skip connections"),
}  # in the words for one and for many operators


class Verdict(NamedTuple):
    """A judgement and its reasons.

    Attributes:
      word: "collapsed", "collapsing", "undecided" or "healthy".
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


def relative_entropy(lines: Lines, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(epochs [T], entropy [T] of an edge relative to its maximum, the one at the start
    if the log does not hold the mixing weights)."""
    at, entropy = series(lines, f"entropy_{kind}")
    mixes = [line["mix"] for line in lines if "mix" in line]
    most = entropy[0] if len(at) else 1.0
    if mixes:
        own = mixes[-1].get(kind, next(iter(mixes[-1].values())))
        most = np.log(len(own[0]))
    return at, entropy / max(most, 1e-9)


def open_choices(lines: Lines) -> list[str]:
    """Sentences on why alpha has not decided; none if it has."""
    found = []
    for kind in kinds(lines):
        at, share = relative_entropy(lines, kind)
        if len(at) and share[-1] > OPEN:
            found.append(
                f"{kind}: the entropy of alpha is {share[-1]:.1%} of its maximum at epoch "
                f"{at[-1]} ({share[0]:.1%} at epoch {at[0]}); above {OPEN:.0%} alpha has "
                "not decided."
            )
    mixes = [line for line in lines if "mix" in line]
    earlier = [m for m in mixes if m["step"] <= KEPT * mixes[-1]["step"]]
    if mixes and not earlier:
        found.append("The search is too short to see if its choice is stable.")
    for kind in mixes[-1]["mix"] if earlier else ():
        now, then = (np.array(m["mix"][kind]) for m in (mixes[-1], earlier[-1]))
        if now.shape != then.shape:
            continue
        same = (now.argmax(1) == then.argmax(1)).mean()
        if same < KEPT:
            found.append(
                f"{kind}: {1 - same:.0%} of the edges have another leading operation than "
                f"at step {earlier[-1]['step']}; the choice is not stable."
            )
    return found


def differs(shares: np.ndarray, random: np.ndarray | None) -> bool:
    """False if a search and random cells always have the same share of an operation.

    Then the share says nothing, as the share of skip connections in a space without them.

    Args:
      shares: the shares [T] of a search.
      random: the shares [N] of random cells, `nasjax.monitors.alpha.base_rate`; or None.

    >>> differs(np.zeros(2), np.zeros(3)), differs(np.zeros(2), np.array([0.0, 0.5]))
    (False, True)
    """
    return random is None or bool(np.ptp(np.concatenate([shares, random])) > 1e-4)


def rarity(observed: Mapping[str, float], base: Mapping[str, np.ndarray]) -> float:
    """The share of random architectures that look at least as collapsed.

    The smallest share over all signs is compared with the same smallest share of every
    random architecture. Therefore at most a share x of random architectures have a
    rarity of x or less, however many signs and cell types there are.

    Args:
      observed: sign -> value; larger values are closer to a collapse.
      base: sign -> values [N] of random architectures.

    >>> rarity({"a": 3.0}, {"a": np.array([0.0, 1.0, 2.0, 3.0])})
    0.25
    """
    names = [name for name in observed if name in base]
    least, own = None, 1.0
    for name in names:
        values = np.asarray(base[name])
        each = (values[None, :] >= values[:, None] - 1e-4).mean(1)
        least = each if least is None else np.minimum(least, each)
        own = min(own, float((values >= observed[name] - 1e-4).mean()))
    return 1.0 if least is None else float((least <= own + 1e-9).mean())


def verdict(
    lines: Lines,
    epochs: int,
    base: Mapping[str, np.ndarray] | None = None,
    space: CellSpace | None = None,
) -> Verdict:
    """The verdict on the collapse of a search, with its reasons.

    "collapsed": alpha has decided, and at most `LEVEL` of the random architectures of
    the space have as many operators without parameters or skip connections.
    "collapsing": DARTS-ES would have stopped the search. "undecided": alpha has not
    decided, see `open_choices`, or the base rate is unknown. Otherwise "healthy".

    Args:
      lines: lines returned by `followed`.
      epochs: number of epochs of the search.
      base: signs of random architectures, `nasjax.monitors.alpha.base_rate`.
      space: the space that was searched; None: shares are percentages.
    """
    reasons: list[str] = []
    observed = {}
    for kind in kinds(lines):
        for sign, words in SIGNS.items():
            name = f"{sign}_{kind}"
            at, share = series(lines, name)
            if not len(at):  # the log of an older version
                continue
            beside = ""
            if base is not None and name in base:
                observed[name] = share[-1]
                below = float((base[name] < share[-1] - 1e-4).mean())
                beside = f", more than in {below:.0%} of random cells of this space"
                if not differs(share, base[name]):
                    continue
            amount = _operators(share[-1], kind, space, words)
            reasons.append(f"{kind}: {amount} at epoch {at[-1]}{beside}.")
        skips = series(lines, f"skip_{kind}")[1]
        if len(skips):
            reasons.append(
                f"{kind}: the mean weight of skip connections went from {skips[0]:.3f} "
                f"to {skips[-1]:.3f}."
            )
    unclear = open_choices(lines)
    if observed and base is not None:
        rare = rarity(observed, base)
        collapsed = rare <= LEVEL and not unclear
        reasons.append(
            f"{rare:.0%} of random architectures look at least as collapsed; at most "
            f"{LEVEL:.0%} is the sign of a collapse."
        )
    else:
        collapsed = False
        unclear.append("The signs of random architectures to compare with are unknown.")
    reasons += unclear
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
    word = "undecided" if unclear else "healthy"
    word = "collapsed" if collapsed else "collapsing" if stop else word
    return Verdict(word, tuple(reasons), stop)


def _operators(
    share: float, kind: str, space: CellSpace | None, words: tuple[str, str]
) -> str:
    """A share of the operators of a cell type in words; "cells" are all cells."""
    one, many = words
    if space is None:
        return f"{share:.0%} of the operators {many}"
    total = len(space.targets) * (1 if kind in space.types else len(space.types))
    count = round(share * total)
    return f"{count} of {total} operators {one if count == 1 else many}"
