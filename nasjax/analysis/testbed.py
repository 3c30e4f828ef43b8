"""A zero-cost test bed: search algorithms on a table, in seconds and without training.

An algorithm sees one number of an architecture, the signal: a validation accuracy after
a short training. The best architecture by the signal so far is the incumbent. An
algorithm is judged by the test accuracy of its incumbent after a long training. The
algorithms are in `nasjax.analysis.methods`.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.analysis import commands
from nasjax.analysis.methods import METHODS, Search
from nasjax.analysis.significance import t_test
from nasjax.core.errors import UserError
from nasjax.core.files import write_text
from nasjax.core.keys import derive
from nasjax.engine.compiling import compiled_programs, side_by_side
from nasjax.plots import style
from nasjax.spaces.table import DATASETS, Table, packaged

# Halves the time to compile, which is nearly all of the time; runs as fast.
_QUICK = {"xla_backend_optimization_level": 1}
SIGNALS = ("cifar10_valid_12ep", "cifar10_valid_200ep", "cifar10_test_12ep")
"""The columns that a search sees by default, the first one that there is."""
_COLOURS = ("#666666", "#000000", style.LINES[0], style.LINES[2], style.LINES[3])


def trace(
    signal: np.ndarray, methods: Mapping[str, Search], seeds: int, evaluations: int
) -> dict[str, np.ndarray]:
    """Runs every method with the seeds 0, 1, ...; one program runs all seeds.

    Args:
      signal: accuracies in percent, of shape [O] * E.

    Returns:
      method -> numbers [seeds, evaluations] of the architectures in order. The numbers
      of a seed do not depend on the number of seeds.
    """
    values = jnp.asarray(signal, jnp.float32)
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))

    def lower(name: str, search: Search):
        one = lambda values, key: search(values, derive(key, name), evaluations)
        run = jax.jit(jax.vmap(one, (None, 0)), compiler_options=_QUICK)
        return lambda: run.lower(values, keys)

    programs = side_by_side({name: lower(name, own) for name, own in methods.items()})
    return {name: np.asarray(run(values, keys)) for name, run in programs.items()}


def incumbents(signal: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The best architecture by the signal so far; the first of equal ones.

    Args:
      signal: flat signal, [O ** E].
      numbers: numbers of architectures from `trace`, [seeds, evaluations].

    Returns:
      numbers of the incumbents, [seeds, evaluations].

    >>> incumbents(np.array([50.0, 70.0, 60.0]), np.array([[0, 2, 0, 1]])).tolist()
    [[0, 2, 2, 1]]
    """
    values = signal[numbers]
    best = np.maximum.accumulate(values, axis=1)
    new = np.diff(best, axis=1, prepend=-np.inf) > 0
    at = np.maximum.accumulate(np.where(new, np.arange(values.shape[1]), 0), axis=1)
    return np.take_along_axis(numbers, at, axis=1)


def study(
    path: str | os.PathLike[str] | None = None,
    seeds: int = 100,
    evaluations: int = 1000,
    signal: str | None = None,
    report: str = DATASETS["cifar10"],
    output: str | os.PathLike[str] | None = None,
) -> str:
    """Compares `METHODS` on a table.

    Args:
      path: the table, see `nasjax.spaces.table`; None: the packaged one.
      seeds: runs of each method, 0 to seeds - 1.
      evaluations: evaluations of each run.
      signal: the column that the methods see, in percent; None: the first column of
        `SIGNALS` that the table has in full, or `report`.
      report: the column that judges the incumbents, in percent.
      output: a folder to write testbed.md, testbed.json and testbed.png into.

    Returns:
      Markdown: a row for each method, and the names of the written files.

    Raises:
      UserError: a number is below 1; the table, a column or the folder is not usable.
    """
    for name, value in (("seeds", seeds), ("evaluations", evaluations)):
        if value < 1:
            raise UserError(f"There are {value} {name}; give --{name} 1 or more.")
    table = packaged() if path is None else Table.read(path)
    note = ""
    if signal is None:
        whole = (name for name in (*SIGNALS, report) if name in table.full)
        signal = next(whole, report)
        if signal != SIGNALS[0]:
            note = (
                f"\n\n{table.path.name} has no {SIGNALS[0]} of every architecture, so the "
                f"methods see {signal}; --signal=COLUMN takes another."
            )
    seen, worth = table.grid(signal), table.grid(report).ravel()
    folder = None if output is None else commands.folder(output)
    start = time.perf_counter()
    with compiled_programs("auto"):
        traces = trace(seen, METHODS, seeds, evaluations)
    found = {
        "table": table.path.name, "signal": signal, "report": report,
        "seeds": seeds, "evaluations": evaluations,
        "seconds": time.perf_counter() - start,
        "best_signal": seen.max(),
        "best_by_signal": worth[seen.argmax()],
        "best": worth.max(),
        "methods": {n: _summary(seen.ravel(), worth, t) for n, t in traces.items()},
    }  # fmt: skip
    text = _markdown(found) + note
    if folder is None:
        return text
    picture = "![Results of the methods over evaluations](testbed.png)"
    write_text(folder / "testbed.md", f"{text}\n\n{picture}\n")
    commands.write(folder / "testbed.json", found)
    _plot(found, folder / "testbed.png")
    files = [str(folder / f"testbed.{ending}") for ending in ("md", "json", "png")]
    return f"{text}\n\nwritten: {', '.join(files)}"


def _summary(
    signal: np.ndarray, worth: np.ndarray, numbers: np.ndarray
) -> dict[str, Any]:
    """A method's curves [evaluations] over the seeds, and its results at the end."""
    best = incumbents(signal, numbers)
    accuracy, final = worth[best], worth[best[:, -1]]
    spread = accuracy.std(0, ddof=1) if len(best) > 1 else np.zeros(best.shape[1])
    quantiles = np.quantile(final, (0.1, 0.5, 0.9))
    return {
        "mean": accuracy.mean(0),
        "deviation": spread,
        "signal_mean": signal[best].mean(0),
        "final": final,
        "final_quantiles": dict(zip(("10", "50", "90"), quantiles, strict=True)),
        "distinct": np.mean([len(set(row)) for row in numbers.tolist()]),
        "found_best_signal": (signal[best[:, -1]] == signal.max()).mean(),
    }


def _markdown(found: Mapping[str, Any]) -> str:
    rows = found["methods"]
    base = next(iter(rows))
    lines = [
        f"| {found['report']} | mean ± standard deviation | 10 % | median | 90 % | "
        f"found the best | distinct | p against {base} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, own in rows.items():
        low, middle, high = (f"{q:.2f}" for q in own["final_quantiles"].values())
        spread = p = ""
        if found["seeds"] > 1:
            spread = f" ± {own['deviation'][-1]:.2f}"
        if spread and name != base:
            p = f"{t_test(own['final'], rows[base]['final']).p_value:.2g}"
        lines.append(
            f"| {name} | {own['mean'][-1]:.2f}{spread} | {low} | {middle} | {high} | "
            f"{100 * own['found_best_signal']:.0f} % | "
            f"{own['distinct']:.0f} | {p} |"
        )
    return "\n".join(
        [
            *lines,
            "",
            f"In percent, of the best architecture by {found['signal']} among "
            f"{found['evaluations']} evaluations; {found['seeds']} seeds. In the table "
            f"the best by {found['signal']} has {found['best_by_signal']:.2f}; found the "
            "best: share of runs that end with it. The largest in the table is "
            f"{found['best']:.2f}. Distinct: different architectures that a run "
            "evaluates. p: Welch's t-test, two-sided.",
        ]
    )


def _plot(found: Mapping[str, Any], path: Path) -> None:
    """Draws the signal and the accuracy of the incumbents, and the final results."""
    figure = style.new_figure((13, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    x = np.arange(1, found["evaluations"] + 1)
    rows = zip(found["methods"].items(), itertools.cycle(_COLOURS), strict=False)
    for place, ((name, own), colour) in enumerate(rows):
        gap = found["best_signal"] - own["signal_mean"]
        left.plot(x, gap, color=colour, lw=1.5, label=name)
        middle.plot(x, own["mean"], color=colour, lw=1.5)
        error = own["deviation"] / np.sqrt(found["seeds"])
        around = own["mean"] - error, own["mean"] + error
        middle.fill_between(x, *around, color=colour, alpha=0.2, lw=0)
        low, mid, high = own["final_quantiles"].values()
        right.hlines(place, low, high, color=colour, lw=4, alpha=0.4)
        right.plot(mid, place, "o", color=colour)
        right.plot(own["mean"][-1], place, "|", color=colour, ms=14, mew=2)
    left.set(yscale="log", title=f"Gap to the best {found['signal']}, points")
    middle.set_title(f"{found['report']} of the incumbent, ± its error, %")
    # The first few draws are so poor that the rest would look like a flat line.
    lowest = min(own["mean"][:10][-1] for own in found["methods"].values())
    middle.set_ylim(lowest - 0.1, found["best"] + 0.1)
    middle.axhline(found["best_by_signal"], color="#666666", lw=0.8, ls=":")
    for axes in (left, middle):
        axes.set(xscale="log", xlabel="evaluations")
        axes.xaxis.set_major_formatter("{x:g}")
    left.legend(fontsize=8)
    right.set_title("At the end: 10 % to 90 %, median (o), mean (|)")
    right.set_yticks(range(len(found["methods"])), found["methods"])
    right.invert_yaxis()
    right.set_xlabel(f"{found['report']}, %")
    for axes in (left, middle, right):
        axes.title.set_fontsize(10)
        style.clean(axes)
    style.save(figure, path)
