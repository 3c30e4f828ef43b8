"""Diagnostics of weights of MGS: one large draw of candidates, weighed in many ways.

Candidates are drawn around alpha from the proposal of ZARTS-MGS and measured after
--steps inner steps. They are then weighed by `likelihood`, exp(-L / tau), and by
`importance`, exp(-L / tau) / q (ZARTS, eq. 8), for several temperatures tau. The
proposal's spread and share around 0 are taken from the run, if its config has them.

The step of MGS is sum c_i u_i. The losses decide only a part of it, the `pull`: the
length of sum (c_i - 1 / N) u_i. The rest, the mean of the draws, depends on the
proposal only. For `likelihood`, many draws and a smooth loss, the pull tends to
spread^2 / tau times the gradient of the loss; the proposal adds a full first-order
gradient.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nasjax.analysis import commands, runs
from nasjax.analysis.measures import weight_report
from nasjax.analysis.planes import evaluator
from nasjax.core.keys import derive
from nasjax.engine.beside import leave
from nasjax.engine.compiling import compiler_options
from nasjax.plots import studies
from nasjax.zeroth import mgs

WAYS = ("likelihood", "importance")


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    made = commands.parser("importance", __doc__ or "")
    made.add_argument(
        "--samples", type=commands.positive, default=64, metavar="N",
        help="number of candidates (default: 64)",
    )  # fmt: skip
    made.add_argument(
        "--temperatures", type=commands.above_zero, nargs="+", metavar="X",
        default=[1.0, 0.1, 0.01, 0.001], help="tau (default: 1 0.1 0.01 0.001)",
    )  # fmt: skip
    help = "standard deviation of the proposal (default: the run's first, or 0.025)"
    made.add_argument("--spread", type=commands.above_zero, metavar="X", help=help)
    commands.lookahead_arguments(made)
    return commands.execute(_study, made, "importance", argv)


def _study(arguments: argparse.Namespace) -> str:
    run = runs.load(arguments.run)
    settings: Any = run.experiment.config.arch.get("zarts_mgs", {})
    spread = arguments.spread or settings.get("spread", 0.0) or 0.025
    key = derive(jax.random.key(arguments.seed), "importance")
    train, val = runs.batches(run, key, arguments.steps, arguments.images)
    objective = runs.objective(run, commands.inner_rate(run, arguments))
    arch, w = run.state.arch, run.state.w

    none = jax.tree.map(lambda leaf: leaf[:0], train)
    first_order = jax.jit(jax.grad(objective), compiler_options=compiler_options())
    guide = first_order(arch, w, none, val)
    method = mgs(arguments.samples, spread, 1.0, settings.get("mixture", 0.0))
    proposal = method.propose(method.init(arch, key), arch, key, guide)
    with commands.working(f"M = {arguments.steps}: {arguments.samples} candidates"):
        evaluate = evaluator(objective, arguments.chunk)
        losses = evaluate(proposal.candidates, w, train, val)
    commands.finite(losses)

    directions, log_q = proposal.aux
    found = []
    for way, tau in itertools.product(WAYS, arguments.temperatures):
        own = weight_report(jnp.asarray(losses), log_q, tau, way)
        pull = (own.weights - 1 / arguments.samples) @ np.asarray(directions)
        found.append((way, tau, float(np.linalg.norm(pull)), own))
    guide_norm = float(optax.tree.norm(guide))
    report = {
        **commands.described(run, arguments),
        "inner_steps": arguments.steps,
        "spread": spread,
        "guide_norm": guide_norm,
        "dimensions": sum(leaf.size for leaf in jax.tree.leaves(arch)),
        "losses": losses,
        "log_q": log_q,
        "weighed": [
            {"weights": way, "temperature": tau, "pull": pull, "report": own._asdict()}
            for way, tau, pull, own in found
        ],
    }
    commands.write(arguments.json, report)
    studies.importance(report, arguments.plot)
    rows = [
        [way, tau, own.effective, own.deviation, own.weights.max(), own.log_q_rank,
         own.loss_rank, pull]
        for way, tau, pull, own in found
    ]  # fmt: skip
    header = [
        "weights", "tau", "effective", "deviation", "heaviest", "rank_q", "rank_loss",
        "pull",
    ]  # fmt: skip
    spread_q = found[0][3].log_q_spread
    return "\n".join(
        [
            f"losses: {losses.mean():.4g}, standard deviation {losses.std():.2g}",
            f"log q: standard deviation {spread_q:.3g} in {report['dimensions']} dimensions",
            f"first-order gradient: length {guide_norm:.3g}",
            commands.table(header, rows),
            f"rank_q, rank_loss: ranks of the heaviest among {arguments.samples}; 1 is "
            "the least likely, and the best",
            f"written: {arguments.json}, {arguments.plot}",
        ]
    )


if __name__ == "__main__":
    leave(main)
