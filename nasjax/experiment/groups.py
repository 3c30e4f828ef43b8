"""Groups of seeds whose searches go together in one program."""

from __future__ import annotations

import contextlib
import functools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import jax
from ml_collections import ConfigDict

from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.engine.checkpoint import Checkpoints
from nasjax.engine.memory import TooLarge
from nasjax.engine.programs import Store
from nasjax.engine.progress import Progress
from nasjax.engine.together import run_together
from nasjax.engine.workdir import RunFolder
from nasjax.experiment import line
from nasjax.experiment.build import Experiment
from nasjax.experiment.several import search_of_seeds
from nasjax.experiment.single import opened

OWN = ("config.seed", "config.seeds", "config.seeds_at_once", "workdir")  # flags


class Runs:
    """The experiments and the open folders of the seeds, made when asked for."""

    def __init__(
        self,
        made: Experiment,
        workdir: Path,
        command: str | None,
        stack: contextlib.ExitStack,
    ):
        self.made, self._workdir, self._command = made, workdir, command
        self._stack, self._folders = stack, dict[int, RunFolder]()

    def experiment(self, seed: int) -> Experiment:
        """The experiment of a seed; all seeds share the data."""
        config = ConfigDict(self.made.config.to_dict())
        config.seed = seed
        return self.made._replace(config=config.lock())

    def path(self, seed: int) -> Path:
        return self._workdir / f"seed_{seed}"

    def folder(self, seed: int) -> RunFolder:
        if seed not in self._folders:
            given = {"command": _command(self._command, seed, self.path(seed))}
            folder = opened(self.experiment(seed), self.path(seed), given)
            self._folders[seed] = self._stack.enter_context(folder)
        return self._folders[seed]


def _command(command: str | None, seed: int, path: Path) -> str | None:
    """The command of the run of one seed, of the command of all seeds."""
    if command is None:
        return None
    name = lambda flag: flag.lstrip("-").partition("=")[0]
    shared = [each for each in shlex.split(command) if name(each) not in OWN]
    return shlex.join([*shared, f"--config.seed={seed}", f"--workdir={path}"])


def hindrance(made: Experiment, asks: int) -> str:
    """Why searches cannot go together, or should not; "" if they do.

    asks: `config.seeds_at_once`.
    """
    config, devices = made.config, made.devices
    if len(made.algorithm.stages) > 1:
        return "each is a search of several stages"
    if config.collapse.remedy != "none":
        return f"remedy {config.collapse.remedy!r} may end each at another epoch"
    if devices.mode != "jit":
        return f"config.parallel is {devices.mode!r}"
    if len(devices.where) > 1:
        return f"each is split over {len(devices.where)} devices"
    if asks == 1:
        return "config.seeds_at_once is 1"
    if not asks and devices.where[0].platform == "cpu":
        return "one search keeps a CPU busy"
    return ""


def groups(
    runs: Runs,
    seeds: Sequence[int],
    asks: int,
    progress: Progress,
    store: Store,
    broken: dict[int, UserError],
) -> Iterator[list[int]]:
    """Runs the searches of groups; yields the seeds of a group when these are over.

    A search that is over, or would be alone in its group, is left to its ordinary run.

    Args:
      runs: the runs of all seeds.
      seeds: which.
      asks: largest number of searches in a program; 0: as many as fit in memory.
      progress, store: as of one run.
      broken: seeds whose runs ended early are added.
    """
    largest = asks or len(seeds)
    while group := _next(runs, [seed for seed in seeds if seed not in broken], largest):
        try:
            ended = _search(runs, group, progress, store)
        except TooLarge as error:
            if asks:
                raise
            fitting = int(len(group) * error.share)
            largest = max(1, min(fitting, len(group) - 1))
            what = f"trying {largest}" if largest > 1 else "one after the other"
            progress.line(
                f"{len(group)} seeds in one program do not fit in memory; {what}"
            )
            continue
        broken |= ended
        yield [seed for seed in group if seed not in ended]


def _next(runs: Runs, seeds: Sequence[int], largest: int) -> list[int]:
    """The seeds of the next group, at the same step; [] if no two can go together.

    Of seeds that stopped at different steps, those go together that have a checkpoint
    of the step of the last: a kill between the checkpoints of two folders leaves them
    one checkpoint apart. Later checkpoints of the group are deleted. Seeds without a
    checkpoint start together; no other seed goes back for them.
    """
    (stage,) = runs.made.algorithm.stages
    training = runs.made.begin(stage, None).problem.training
    total = training.epochs * training.steps_per_epoch
    kept = {}
    for seed in seeds:
        checkpoints = Checkpoints(runs.path(seed) / "checkpoints" / stage.name)
        steps = checkpoints.steps()
        finished = (runs.path(seed) / "result.json").exists()
        if total not in steps and not finished:
            kept[seed] = steps or [0]
    while largest > 1 and kept:
        step = min(steps[-1] for steps in kept.values())
        group = [seed for seed, steps in kept.items() if step in steps]
        if len(group) > 1:
            programs = -(-len(group) // largest)
            group = group[: -(-len(group) // programs)]
            for seed in group:
                place = runs.folder(seed).path / "checkpoints" / stage.name
                Checkpoints(place).drop_after(step)
            return group
        del kept[group[0]]
    return []


def _search(
    runs: Runs, seeds: Sequence[int], progress: Progress, store: Store
) -> Mapping[int, UserError]:
    """Searches with these seeds in one program; see `run_together`."""
    made, config = runs.made, runs.made.config
    (stage,) = made.algorithm.stages
    phase = search_of_seeds(
        stage.name,
        functools.partial(made.begin, stage, None),
        made.hyper(stage),
        made.domain.halves,
        {seed: derive(jax.random.key(seed), stage.name) for seed in seeds},
        made.devices,
        [runs.folder(seed) for seed in seeds],
        functools.partial(made.monitors, 0.0),
        store.of(stage.name),
        config.collapse.most_skips,
    )
    words = functools.partial(line.words, metric=made.domain.metric)
    return run_together(
        phase._replace(words=words),
        [runs.folder(seed) for seed in seeds],
        progress,
        config.checkpoint_every,
        config.log_every,
    )
