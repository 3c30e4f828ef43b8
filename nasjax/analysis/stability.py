"""Signs of collapse of a search: a verdict in words, and the numbers it rests on.

Reads the log of a finished, stopped or running search and draws its vital signs over
the epochs. --measure adds exact measurements, which take minutes, at the newest
checkpoint or the checkpoint that early stopping returned to: the spectrum of the
Hessian of the validation loss in alpha, and the cost of discretising next to its bound
C = |H| |A' - A|^2. A are the mixing weights, A' the weights of their genotype, and |H|
is the spectral norm of the Hessian in A (SmoothDARTS, arXiv 2002.05283, eq. 5).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import optax

from nasjax.analysis import commands, runs
from nasjax.collapse import verdict
from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.engine.beside import leave
from nasjax.engine.compiling import compiler_options
from nasjax.engine.workdir import RunFolder
from nasjax.experiment import pictures, validate
from nasjax.hypergrad import curvature
from nasjax.monitors.alpha import base_rate
from nasjax.plots import signs
from nasjax.tasks.base import At
from nasjax.tasks.images import accuracy, cross_entropy


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    made = commands.parser("stability", __doc__ or "")
    made.add_argument("--measure", action="store_true", help="take exact measurements")
    for flag, default, about in (
        ("--images", 256, "validation images of --measure, at most all"),
        ("--chunk", 4, "Hessian-vector products of --measure at once"),
    ):
        made.add_argument(
            flag, type=commands.positive, default=default, metavar="N",
            help=f"{about} (default: {default})",
        )  # fmt: skip
    return commands.execute(_study, made, "stability", argv)


def _study(arguments: argparse.Namespace) -> str:
    folder = RunFolder.read(arguments.run)
    config = runs.config_of(folder)
    lines = verdict.followed(folder.metrics())
    ended = [line["epoch"] for line in lines if "valid_loss" in line]
    if not ended:
        raise UserError(
            f"The search in {folder.path} has not ended an epoch yet; try again later."
        )
    space = pictures.searched(validate.of_run(config), lines)
    found = verdict.verdict(lines, config.search.epochs, base_rate(space), space)
    result = folder.read_outcome("result") or {
        "algorithm": config.algorithm,
        "seed": config.seed,
    }
    footer = pictures.footer(folder.path.absolute().name, result)
    panels = pictures.collapse_panels(lines, space, found.stop)
    signs.plot_signs(panels, arguments.plot, footer)
    report: dict[str, Any] = {
        "algorithm": config.algorithm,
        "epochs": ended[-1],
        "verdict": found.word,
        "reasons": found.reasons,
        "stop": found.stop and found.stop._asdict(),
    }
    head = f"{found.word.upper()} after {ended[-1]} of {config.search.epochs}"
    text = [f"{head} epochs of {config.algorithm}", *(f"  {r}" for r in found.reasons)]
    if arguments.measure:
        measured = _measured(arguments)
        report["measured"] = measured
        text.append(commands.table(["measured now", ""], list(measured.items())))
    commands.write(arguments.json, report)
    return "\n".join([*text, f"written: {arguments.json}, {arguments.plot}"])


def _measured(arguments: argparse.Namespace) -> dict[str, float]:
    """Exact numbers, at the newest checkpoint."""
    run = runs.load(arguments.run, finished=False)
    runs.images_of(run)
    key = derive(jax.random.key(0), "stability")
    _, val = runs.batches(run, key, 0, arguments.images)
    problem = run.search.problem
    relaxation, at = problem.relaxation, val["at"]._replace(key=None)
    val = val | {"at": At()}  # without drop path

    def logits(mix):
        return problem.task.outputs(run.state.w, mix, val, True)[0].logits

    loss = lambda mix: cross_entropy(logits(mix), val["label"])

    def of_alpha(arch):
        spectrum = curvature.spectrum(
            lambda arch: loss(relaxation.mix(arch, at)),
            arch,
            key,
            chunk=arguments.chunk,
        )
        return spectrum._asdict()

    def of_mix(arch):
        mix = relaxation.mix(arch, at)
        chosen = relaxation.choose(mix, problem.space, None)
        ends = curvature.dominant(loss, mix, key)
        apart = optax.tree.norm(optax.tree.sub(chosen, mix), squared=True)
        return {
            "loss of the supernet": loss(mix),
            "loss when discretised": loss(chosen),
            "bound C of the difference": abs(ends.strongest) * apart,
            "accuracy of the supernet": accuracy(logits(mix), val["label"]),
            "accuracy when discretised": accuracy(logits(chosen), val["label"]),
        }

    options = compiler_options()
    what = f"measuring on {len(val['label'])} images at step {run.state.step}"
    with commands.working(what):
        spectrum, rest = jax.device_get(
            [
                jax.jit(f, compiler_options=options)(run.state.arch)
                for f in (of_alpha, of_mix)
            ]
        )
    names = {
        "largest": "largest eigenvalue, in alpha",
        "strongest": "largest in magnitude",
        "error": "error of these",
        "trace": "trace",
        "trace_error": "error of the trace",
    }
    found = {names[name]: value for name, value in spectrum.items()} | rest
    return {name: float(np.asarray(value)) for name, value in found.items()}


if __name__ == "__main__":
    leave(main)
