"""Several seeds of one search: `config.seeds`.

Each seed has its own folder, WORKDIR/seed_N, with the config of its own run. Searches
advance together in one program where they can; then each folder is completed as an
ordinary run. So a folder can also be resumed alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from nasjax.core.errors import UserError
from nasjax.core.limits import Range
from nasjax.engine.compiling import compiled_programs
from nasjax.engine.programs import Store
from nasjax.engine.progress import Progress
from nasjax.engine.signals import signals
from nasjax.experiment import defaults, report, validate
from nasjax.experiment.build import build
from nasjax.experiment.groups import Runs, groups, hindrance
from nasjax.experiment.single import complete, store_of


def asked(config: ConfigDict) -> range:
    """The seeds of a config; a config without `seeds` has one.

    Raises:
      UserError: there are no such seeds, or the config has no search.
    """
    if not isinstance(config, ConfigDict) or "seeds" not in config:
        return range(1)
    for name in defaults.OF_COMMANDS:
        if name in config:
            validate.LIMITS[""][name].check(config[name], f"config.{name}")
    if (count := config.seeds) == 1:
        return range(1)
    last = Range(0, validate.SEEDS - count, closed=True)
    last.check(config.seed, "config.seed")
    if config.genotype:
        raise UserError(
            f"config.seeds is {count}, but config.genotype is trained without a search; "
            f"set --config.retrain.seeds={count} for several trainings."
        )
    return range(config.seed, config.seed + count)


def run(
    config: ConfigDict,
    workdir: str | Path,
    progress: Progress,
    command: str | None,
    code: str | None,
    data: Any,
) -> dict[str, Any]:
    """Runs all seeds of a config; the same call again resumes.

    Args, raises: as `nasjax.experiment.run.run`.

    Returns:
      {"seeds": seed as text -> content of its `result.json`}.
    """
    workdir, seeds = Path(workdir).expanduser(), asked(config)
    if (workdir / "config.json").exists():
        raise UserError(
            f"{workdir} holds one run, and config.seeds is {len(seeds)}, whose runs are "
            "in folders of a folder; give another one with --workdir."
        )
    made = build(config, data)
    asks = config.get("seeds_at_once", 0)
    why = hindrance(made, asks)
    cache = made.config.compile_cache
    with (
        signals(command),
        compiled_programs(cache, by_jax=code is None) as compiled,
        contextlib.ExitStack() as stack,
    ):
        store = store_of(made, compiled, code)
        how = f"one after the other, because {why}"
        if not why:
            size = min(asks or len(seeds), len(seeds))
            how = f"{'' if asks else 'up to '}{size} in one program"
        words = f"seeds {seeds[0]} to {seeds[-1]}, {how}"
        with progress.waiting("estimating the duration", announced=False):
            opening = report.opening(made, workdir.absolute(), store, words)
        progress.line("\n".join(opening))
        runs = Runs(made, workdir, command, stack)
        broken: dict[int, UserError] = {}
        results: dict[int, dict[str, Any]] = {}
        for group in [] if why else groups(runs, seeds, asks, progress, store, broken):
            results |= _completed(runs, group, progress, store, broken)
        rest = [seed for seed in seeds if seed not in {*results, *broken}]
        results |= _completed(runs, rest, progress, store, broken)
    if broken:
        each = "; ".join(f"seed {seed}: {error}" for seed, error in broken.items())
        raise UserError(
            f"{len(broken)} of {len(seeds)} seeds ended early, the others are finished; "
            f"{each}"
        )
    return {"seeds": {str(seed): results[seed] for seed in seeds}}


def _completed(
    runs: Runs,
    seeds: Iterable[int],
    progress: Progress,
    store: Store,
    broken: dict[int, UserError],
) -> dict[int, dict[str, Any]]:
    """Seed -> result of the runs of these seeds, one after the other.

    A run that ends early is added to `broken`, and the others go on.
    """
    results = {}
    for seed in seeds:
        progress.seed = seed
        try:
            folder = runs.folder(seed)
            results[seed] = complete(runs.experiment(seed), folder, progress, store)
            progress.line(report.of_seed(results[seed], folder.path))
        except UserError as error:
            broken[seed] = error
            progress.line(str(error))
        finally:
            progress.seed = None
    return results
