"""The pictures of a run, drawn from its log and its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nasjax.collapse import verdict
from nasjax.experiment.outcome import Outcome
from nasjax.experiment.recorded import Recorded
from nasjax.monitors.alpha import base_rate
from nasjax.plots import alpha, genotypes, signs, training
from nasjax.spaces import CellSpace
from nasjax.spaces.genotype import Genotype

Lines = Sequence[Mapping[str, Any]]

BAND = (0.05, 0.95)  # quantiles of random cells


def draw(run: Recorded, path: Path) -> list[Path]:
    """Draws cells.png; alpha.png and collapse.png of the last stage, edges.png of one
    before; curves.png.

    Args:
      run: the run.
      path: folder to write into.

    Returns:
      The files written.
    """
    lines, space, genotype = run.lines, run.space, run.genotype
    outcome, drawn = Outcome.of(run.result), []
    below = footer(run.name, run.result)
    if genotype is not None:
        genotypes.draw(genotype, path / "cells.png", below)
        drawn.append("cells.png")
    for phase, file in (("search", "alpha.png"), ("edges", "edges.png")):
        own = verdict.followed(lines, phase)
        seen = [line for line in own if "mix" in line]
        if not seen:
            continue
        last = phase == "search"
        steps = np.array([line["step"] for line in seen])
        known = searched(space, seen)
        edges = {k: [*known.edges_of(k)] for k in space.types}
        history = {k: np.array([line["mix"][k] for line in seen]) for k in edges}
        names = {k: [space.operations(k, e) for e in own] for k, own in edges.items()}
        chosen = _chosen(genotype, space) if last and genotype else None
        alpha.plot_alpha(history, steps, names, edges, path / file, chosen, below)
        drawn.append(file)
        if last:
            epochs = run.config["search"]["epochs"]
            stop = verdict.detected(verdict.eigenvalues(own), epochs)
            panels = collapse_panels(own, searched(space, own), stop)
            signs.plot_signs(panels, path / "collapse.png", below)
            drawn.append("collapse.png")
    numbers = [line for line in lines if "mix" not in line]
    if any("loss" in key for line in numbers for key in line):
        tests = _tests(outcome, run.result)
        metric = outcome.metric.name
        training.plot_curves(numbers, path / "curves.png", metric, tests, below)
        drawn.append("curves.png")
    return [path / file for file in drawn]


def footer(name: str, result: Mapping[str, Any]) -> str:
    """The line below each picture: run, algorithm, data, seed, test.

    Args:
      name: name of the run.
      result: content of result.json; of an unfinished run what is known of it.
    """
    on = f" on {result['dataset']}" if result.get("dataset") else ""
    seed = f"seed {result['seed']}" if result.get("seed") is not None else ""
    about = f"{result.get('algorithm') or ''}{on}"
    parts = (f"run {name}", about, seed, Outcome.of(result).short())
    return "   ·   ".join(filter(None, parts))


def searched(space: CellSpace, lines: Lines) -> CellSpace:
    """The space with the edges that the log of a search names."""
    for line in lines:
        if "edges" in line and set(line["edges"]) == set(space.types):
            return space.keep({k: map(tuple, e) for k, e in line["edges"].items()})
    return space


def collapse_panels(
    lines: Lines, space: CellSpace, stop: verdict.Stop | None = None
) -> list[signs.Panel]:
    """The panels of collapse.png.

    Args:
      lines: lines of a search, from `verdict.followed`.
      space: the space that was searched, from `searched`.
      stop: the stop by DARTS-ES.
    """
    kinds, base = verdict.kinds(lines), base_rate(space)
    by_kind = lambda name: {k: verdict.series(lines, f"{name}_{k}") for k in kinds}
    shares = lambda name: {
        k: xy
        for k, xy in by_kind(name).items()
        if verdict.differs(xy[1], base.get(f"{name}_{k}"))
    }
    nodes, share = float(space.nodes), (0.0, 1.0)

    def bands(name: str) -> dict[str, tuple[float, float]]:
        known = {k: base.get(f"{name}_{k}") for k in kinds}
        ends = {k: np.quantile(v, BAND) for k, v in known.items() if v is not None}
        return {k: (float(low), float(high)) for k, (low, high) in ends.items()}

    entropy = {k: verdict.relative_entropy(lines, k) for k in kinds}
    even = 1 / space.alpha_shape(space.types[0])[1]
    ended = None if stop is None else stop.epoch_detected + 1
    panel = signs.Panel
    found = [
        panel(
            "operators without parameters\n(share of the architecture)",
            "above random cells: a sign of collapse",
            shares("parameter_free"), share, bands("parameter_free"),
        ),
        panel(
            "skip connections kept\n(share of the architecture)",
            "above random cells: a sign of collapse",
            shares("kept_skips"), share, bands("kept_skips"),
        ),
        panel(
            "mean mixing weight of\nskip connections", "rising: a sign of collapse",
            by_kind("skip"), (0.0, 2 * even), mark=(even, "equal weights"),
        ),
        panel(
            "entropy of alpha\n(share of its maximum)",
            "1: all operations equal, 0: decided", entropy, (0.9, 1.0),
            mark=(verdict.OPEN, "undecided above"),
        ),
        panel(
            "width: nodes fed by the cell's inputs\n(sum of each node's share)",
            "wide and shallow: what trains fast wins",
            by_kind("width"), (0, nodes), bands("width"),
        ),
        panel(
            "depth: edges on the\nlongest path",
            "wide and shallow: what trains fast wins",
            by_kind("depth"), (0, nodes + 1), bands("depth"),
        ),
        panel(
            "dominant eigenvalue of the\nHessian in alpha",
            "rising: a warning, DARTS-ES stops",
            {
                "largest": verdict.series(lines, "eigenvalue"),
                "largest in magnitude": verdict.series(lines, "eigenvalue_strongest"),
            },
            stop=ended,
        ),
        panel(
            "trace of the\nHessian in alpha",
            "rising: a sharper minimum",
            {"trace": verdict.series(lines, "hessian_trace")},
        ),
    ]  # fmt: skip
    for score in verdict.scores(lines):
        curves = {
            "supernet": verdict.series(lines, f"mixed_{score}"),
            "discretised": verdict.series(lines, f"discretised_{score}"),
        }
        limits = share if score == "accuracy" else (0.0, 0.0)
        gap = "a gap: discretising costs"
        found.append(panel(f"validation {score}\nof the supernet", gap, curves, limits))
    return found


def _chosen(genotype: Genotype, space: CellSpace) -> dict[str, list]:
    """Cell type -> (operation, source, node) of each pair."""
    return {
        kind: [(op, s, t) for (op, s), t in zip(pairs, space.targets, strict=True)]
        for kind, pairs in genotype.cells.items()
    }


def _tests(outcome: Outcome, result: Mapping[str, Any]) -> dict[str, float]:
    """Phase -> test value."""
    found = {f"retrain_{i}": value for i, value in enumerate(outcome.found)}
    found |= {f"random_{i}": value for i, value in enumerate(outcome.random)}
    reweighted = result.get(f"reweighted_test_{outcome.metric.name}")
    return found | ({} if reweighted is None else {"reweighted": reweighted})
