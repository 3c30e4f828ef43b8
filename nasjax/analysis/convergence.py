"""Test accuracy over the epochs of a search: the architecture of every k-th, retrained.

The architecture of an epoch is alpha after that epoch, discretised. It is retrained
with the settings of the run and measured on the test part; equal architectures are
retrained once (ZARTS, section 5.1; Bi et al., arXiv 1910.11831, figure 1). The study
can be stopped at any time; the same command resumes it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax

from nasjax.analysis import commands, runs
from nasjax.collapse import verdict
from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.core.origin import origin
from nasjax.engine.beside import leave
from nasjax.engine.progress import Progress
from nasjax.engine.signals import signals
from nasjax.engine.workdir import RunFolder
from nasjax.experiment.defaults import free_on_resume
from nasjax.experiment.outcome import Outcome
from nasjax.experiment.phases import tested
from nasjax.experiment.retrain import retrain
from nasjax.plots import studies
from nasjax.spaces import CellSpace
from nasjax.spaces.genotype import Genotype


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns the exit code."""
    made = commands.parser("convergence", __doc__ or "")
    made.add_argument(
        "--every", type=commands.positive, default=1, metavar="K",
        help="epochs from one architecture to the next; the last epoch is always "
        "included (default: 1)",
    )  # fmt: skip
    help = "folder of the retrainings (default: RUN/convergence)"
    made.add_argument("--workdir", type=Path, metavar="FOLDER", help=help)
    return commands.execute(_study, made, "convergence", argv)


def architectures(
    lines: Sequence[Mapping[str, Any]],
    space: CellSpace,
    steps_per_epoch: int,
    every: int,
) -> dict[int, Genotype]:
    """Epoch -> architecture that was read off alpha after it.

    Args:
      lines: lines of metrics.jsonl; only lines of the search with a "mix" are used.
      space: space of the search.
      steps_per_epoch: number of weight steps in an epoch of the search.
      every: k; the last epoch is always included.
    """
    seen = [line for line in verdict.followed(lines) if "mix" in line]
    cells = {line["step"] // steps_per_epoch: line["genotype"] for line in seen}
    return {
        epoch: Genotype.from_json(cell, space)
        for epoch, cell in cells.items()
        if epoch % every == 0 or epoch == max(cells)
    }


def _study(arguments: argparse.Namespace) -> str:
    run = runs.load(arguments.run)
    images = runs.images_of(run)
    made, config = run.experiment, run.experiment.config
    if not config.retrain.epochs:
        raise UserError(
            f"The config of {run.folder.path} has retrain.epochs 0, so no accuracy can "
            "be compared; give a run whose retrain.epochs is above 0."
        )
    lines = [
        line for line in run.folder.metrics()
        if line.get("step", 0) <= int(run.state.step)  # a stopped search logged more
    ]  # fmt: skip
    problem = run.search.problem
    found = architectures(
        lines, problem.space, problem.training.steps_per_epoch, arguments.every
    )
    if not found:
        raise UserError(
            f"{run.folder.path} has no mixing weights in its metrics.jsonl; give a run "
            "whose file is complete."
        )
    first = {cell: epoch for epoch, cell in reversed(found.items())}
    names = {epoch: f"epoch_{first[cell]}" for epoch, cell in found.items()}
    cells = {names[epoch]: found[epoch] for epoch in found}
    identity = {
        "run": config.to_dict(),
        "architectures": {name: cell.to_json() for name, cell in cells.items()},
    }
    free = [f"run.{name}" for name in free_on_resume()]
    command = arguments.command
    manifest = {"command": command, **origin()}
    workdir = arguments.workdir or run.folder.path / "convergence"
    commands.say(f"{len(cells)} architectures in {len(found)} epochs, in {workdir}")
    with signals(command), RunFolder.open(workdir, identity, manifest, free) as folder:
        with Progress(sys.stderr) as progress:
            results = {
                name: _retrained(run, name, cell, folder, progress)
                for name, cell in cells.items()
            }
        rows = [
            {"epoch": e, "architecture": name, **results[name]}
            for e, name in names.items()
        ]
        random = (run.folder.read_outcome("result") or {}).get("random_test_accuracy")
        report = {
            "run": {
                "command": run.folder.manifest.get("command"),
                "algorithm": config.algorithm,
                "dataset": made.domain.name,
            },
            "random_test_accuracy": random,
            "test_images": len(images.data.test.label),
            "epochs": rows,
            "architectures": identity["architectures"],
        }
        folder.write_outcome("result", report)
    commands.write(arguments.json, report)
    studies.convergence(report, arguments.plot)
    return "\n".join(
        [
            commands.table(list(rows[0]), [list(row.values()) for row in rows]),
            f"written: {arguments.json}, {arguments.plot}",
        ]
    )


def _own(run: runs.Run, cell: Genotype) -> dict[str, Any] | None:
    """The result of the run for its last architecture, by the same retraining."""
    result = run.folder.read_outcome("result")
    if result is None or result.get("genotype") != cell.to_json():
        return None
    size = run.experiment.domain.size(cell, run.experiment.space)
    first = (*Outcome.of(result).found, None)[0]
    if first is None:
        return None
    return {"test_accuracy": first, **size}


def _retrained(
    run: runs.Run, name: str, cell: Genotype, folder: RunFolder, progress: Progress
) -> dict[str, Any]:
    """Test accuracy and size of one architecture; read if it was measured before."""
    known = folder.read_outcome(name) or _own(run, cell)
    if known is not None:
        return known
    made = run.experiment
    key = derive(jax.random.key(made.config.seed), "retrain")  # the run's own
    retraining, outcome = retrain(made, name, cell, key, folder, progress)
    found = tested(retraining, outcome.state, made.devices)
    size = made.domain.size(cell, made.space)
    result = {"test_accuracy": found["accuracy"], **size}
    folder.write_outcome(name, result)
    return result


if __name__ == "__main__":
    leave(main)
