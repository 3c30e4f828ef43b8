"""The loss around alpha on a random plane, after M inner steps of the weights, and the
paths of DARTS and of the three zero-order methods on it (ZARTS, figure 1).

Three panels: first-order weights (M = 0), second-order weights (M = 1) and weights that
were trained for --steps. All start from the weights at the end of the run, on the same
batches. A coordinate of 1 is a direction of the length of alpha, in every type of cell.

On its panel each method makes ten moves from (-0.5, 0.5) times --extent. DARTS descends
the gradient in the two coordinates, RS its estimate of this gradient, both by Adam. One
move of RS, MGS or GLD takes eight losses. MGS' temperature is the mean slope of the
loss times the spread of MGS' draws.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nasjax.analysis import commands, runs
from nasjax.analysis.planes import (
    Plane,
    coordinates,
    descend,
    evaluator,
    plane,
    shape,
    walk,
)
from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.engine import optim
from nasjax.engine.beside import leave
from nasjax.engine.progress import Progress
from nasjax.plots import studies
from nasjax.zeroth import gld, gradient_estimate, mgs, random_search

START = (-0.5, 0.5)  # of all paths, as in the released code
MOVES = 10


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    made = commands.parser("landscape", __doc__ or "")
    for flag, kind, default, about in (
        ("--points", _side, 21, "points on a side of the grid"),
        ("--extent", commands.above_zero, 1.0, "coordinates from -N to N"),
    ):
        help = f"{about} (default: {default})"
        made.add_argument(flag, type=kind, default=default, metavar="N", help=help)
    commands.lookahead_arguments(made)
    return commands.execute(_study, made, "landscape", argv)


def _side(text: str) -> int:
    value = commands.positive(text)
    if value < 5:
        raise argparse.ArgumentTypeError(f"give an integer of at least 5, not {text}")
    return value


def _study(arguments: argparse.Namespace) -> str:
    run = runs.load(arguments.run)
    key = derive(jax.random.key(arguments.seed), "landscape")
    try:
        on = plane(run.state.arch, derive(key, "plane"))
    except ValueError as error:
        raise UserError(f"alpha of {run.folder.path} spans no plane: {error}") from None
    losses = look_ahead(run, on, key, arguments)
    places = coordinates(arguments.points, arguments.extent)
    with Progress(sys.stderr) as progress:
        panels = {}
        for steps in sorted({0, 1, arguments.steps}):
            progress.line(f"M = {steps}: {len(places)} points")
            rows = []
            for row in np.split(places, arguments.points):
                rows.append(losses(row, steps))
                progress.update(f"M = {steps}", len(rows), arguments.points, {})
            panels[steps] = _uneven(np.concatenate(rows))
    shapes = {steps: shape(places, values) for steps, values in panels.items()}
    temperature = 0.1 * arguments.extent * shapes[arguments.steps].slope
    with commands.working("paths"):
        found = paths(
            losses, arguments.steps, arguments.extent, temperature, derive(key, "paths")
        )
        ends = losses(np.stack([path[-1] for path in found.values()]), arguments.steps)

    last = panels[arguments.steps]
    alike = {m: float(np.corrcoef(values, last)[0, 1]) for m, values in panels.items()}
    report = {
        **commands.described(run, arguments),
        "extent": arguments.extent,
        "axis": places[: arguments.points, 1],
        "panels": [
            {
                "inner_steps": steps,
                **shapes[steps]._asdict(),
                "correlation_with_last": alike[steps],
                "losses": values.reshape(arguments.points, -1),
            }
            for steps, values in panels.items()
        ],
        "paths": [
            {"method": name, "last_loss": float(end), "places": path}
            for (name, path), end in zip(found.items(), ends, strict=True)
        ],
    }
    commands.write(arguments.json, report)
    studies.landscape(report, arguments.plot)
    return _told(shapes, alike, found, ends, arguments)


def _uneven(losses: np.ndarray) -> np.ndarray:
    """The losses, after a check that they differ."""
    if not np.ptp(commands.finite(losses)):
        raise UserError(
            "The loss is the same on all of the plane: with one operation alpha has no "
            "effect; give a run with more operations, or a larger --extent."
        )
    return losses


def look_ahead(
    run: runs.Run, on: Plane, key: Array, arguments: argparse.Namespace
) -> Callable:
    """The losses of a run on a plane: (places [N, 2], M) -> [N]."""
    train, val = runs.batches(run, key, arguments.steps, arguments.images)
    objective = runs.objective(run, commands.inner_rate(run, arguments))
    some = evaluator(objective, arguments.chunk)  # the same program as in other studies

    def losses(places, steps: int) -> np.ndarray:
        points = jax.vmap(on.at)(jnp.asarray(places, jnp.float32))
        first = jax.tree.map(lambda leaf: leaf[:steps], train)
        return some(points, run.state.w, first, val)

    return losses


def paths(
    losses: Callable, steps: int, extent: float, temperature: float, key: Array
) -> dict[str, np.ndarray]:
    """The path of each method on a plane, in `MOVES` moves.

    The gradients of DARTS are central differences at a hundredth of the extent. They
    are exact for a quadratic, and only the program of the losses is compiled.

    Args:
      losses: (places [N, 2], M) -> [N]; DARTS is given M = 0 and 1.
      steps: M of the zero-order methods.
      extent: unit of the moves, in coordinates of the plane.
      temperature: temperature of MGS.
      key: random key of all draws.

    Returns:
      name -> path [MOVES + 1, 2].
    """
    start = jnp.asarray(START, jnp.float32) * extent
    reach = 0.1 * extent  # length of Adam's moves, RS' differences, MGS' spread
    adam = optim.adam(reach, 0.5, 0.999, 0.0)
    differences = random_search(4, radius=reach, rate=1.0)
    guided = mgs(
        8, reach, max(temperature, 1e-30), 0.1, "likelihood", guide_scale=reach
    )
    ladder = gld(max_radius=5 * reach, min_radius=5 * reach / 2**6)

    def gradient(place: Array, steps: int) -> Array:
        moves = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]]) * extent / 100
        up_i, down_i, up_j, down_j = losses(place[None] + moves, steps)
        return jnp.array([up_i - down_i, up_j - down_j]) * 50 / extent

    def estimate(place: Array, move: int) -> Array:
        own = derive(key, "rs", move)
        proposal = differences.propose(differences.init(place, own), place, own)
        return gradient_estimate(proposal, objective(proposal.candidates))

    def downhill(place: Array) -> Array:
        found = gradient(place, 0)
        return found / jnp.maximum(jnp.linalg.norm(found), 1e-30)

    objective = lambda places: jnp.asarray(losses(places, steps))
    return {
        "DARTS 1st": descend(lambda x, _: gradient(x, 0), start, MOVES, adam),
        "DARTS 2nd": descend(lambda x, _: gradient(x, 1), start, MOVES, adam),
        "RS": descend(estimate, start, MOVES, adam),
        "MGS": walk(guided, objective, start, MOVES, derive(key, "mgs"), downhill),
        "GLD": walk(ladder, objective, start, MOVES, derive(key, "gld")),
    }


def _told(shapes, alike, found, ends, arguments) -> str:
    """The two tables for the terminal."""
    grid = commands.table(
        ["M", "centre", "minimum", "at", "spread", "slope", "curvature", "alike"],
        [
            [
                steps, own.centre, own.minimum, _place(own.place), own.spread, own.slope,
                f"{own.curvature[0]:.3g} to {own.curvature[1]:.3g}", alike[steps],
            ]
            for steps, own in shapes.items()
        ],
    )  # fmt: skip
    moved = commands.table(
        ["method", "ends at", f"loss, M = {arguments.steps}"],
        [
            [n, _place(p[-1]), float(e)]
            for (n, p), e in zip(found.items(), ends, strict=True)
        ],
    )
    note = f"alike: correlation with the losses of M = {arguments.steps}"
    return "\n".join(
        [grid, note, "", moved, f"written: {arguments.json}, {arguments.plot}"]
    )


def _place(place: Sequence[float]) -> str:
    return f"({place[0]:.2f}, {place[1]:.2f})"


if __name__ == "__main__":
    leave(main)
