"""The plan of a sweep: its runs, their folders and their flags."""

from __future__ import annotations

import collections
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from nasjax.core.errors import UserError
from nasjax.core.imports import GIVEN
from nasjax.engine.workdir import RunFolder
from nasjax.experiment.configs import find


class Run(NamedTuple):
    """One run of a sweep.

    Attributes:
      folder: workdir of the run, named after its config, settings and seed.
      flags: command-line flags of nasjax.main.
    """

    folder: Path
    flags: tuple[str, ...]

    @property
    def finished(self) -> bool:
        return RunFolder(self.folder, {}, None).finished

    @property
    def log(self) -> Path:
        """The file for the run's stdout and stderr, next to its folder."""
        return self.folder.with_name(f"{self.folder.name}.log")


def plan(
    configs: Sequence[str],
    seeds: Sequence[int],
    grid: Sequence[str],
    into: Path,
    flags: Sequence[str],
) -> list[Run]:
    """The runs of a sweep in order: by seed, then config, then setting.

    Args:
      configs: config files or names, each with an optional :variant.
      seeds: values of config.seed.
      grid: "config.FIELD=VALUE,VALUE", all combinations of which are run.
      into: folder that contains the folders of the runs.
      flags: "--config.FIELD=VALUE", passed to every run.

    Raises:
      UserError: a file does not exist, a flag is not a config field, or two runs would
        be the same.
    """
    for config in configs:
        find(config)
    settings = [_values(each) for each in grid]
    given = [name for own in settings for name, _ in own[:1]]
    for flag in flags:
        name, equals, _ = flag.partition("=")
        if not name.startswith("--config.") or not equals:
            raise UserError(
                f"{flag!r} cannot be given to all runs; after -- give fields of the "
                "config, such as --config.search.epochs=4"
            )
        given.append(name.removeprefix("--"))
    for name, count in collections.Counter(given).items():
        if name in ("config.seed", "config.seeds"):
            raise UserError(
                f"{name} was set; seeds are given with --seeds, as in --seeds 0 1 2"
            )
        if count > 1:
            raise UserError(f"{name} is given {count} times; give all its values once.")
    runs = []
    for seed, config, chosen in itertools.product(
        seeds, configs, itertools.product(*settings)
    ):
        own = [f"{name}={value}" for name, value in chosen]
        name = _name(config, own, seed)
        runs.append(
            Run(
                into / name,
                (
                    f"--config={config}",
                    f"--workdir={into / name}",
                    f"--config.seed={seed}",
                    *(f"--{each}" for each in own),
                    *(f"--import={name}" for name in GIVEN),
                    *flags,
                ),
            )
        )
    folders = collections.Counter(run.folder.name for run in runs)
    name, count = folders.most_common(1)[0]
    if count > 1:
        raise UserError(
            f"{count} runs would be called {name}; give each config, seed and value "
            "once, and use separate sweeps for config files of the same name."
        )
    return runs


def check(runs: Sequence[Run]) -> None:
    """Refuses flags that a run would refuse; each config and setting is read once."""
    from nasjax.main import parse_flags  # imports JAX, which a plan does not need

    own = ("--workdir=", "--config.seed=", "--import=")  # the sweep's
    for flags in dict.fromkeys(
        tuple(flag for flag in run.flags if not flag.startswith(own)) for run in runs
    ):
        parse_flags(flags)


def _values(setting: str) -> list[tuple[str, str]]:
    """(field, value) for every value of one --grid."""
    name, _, values = setting.partition("=")
    each = _split(values)
    if not name.startswith("config.") or not all(each):
        raise UserError(
            f"--grid was given {setting!r}; expected a field of the config and its "
            "values, as in --grid config.search.weight_decay=3e-4,9e-4"
        )
    return [(name, value) for value in each]


def _split(values: str) -> list[str]:
    """The values of a list with commas, which brackets and quotes may hold as well.

    A quote opens at the start of a word, so that "it's" is a word.

    >>> _split("(24,24),(32,32)"), _split("it's,'a,b'")
    (['(24,24)', '(32,32)'], ["it's", "'a,b'"])
    """
    found, depth, quote = [""], 0, ""
    for before, char in itertools.pairwise(f",{values}"):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"" and before in ",([{: ":
            quote = char
        else:
            depth += (char in "([{") - (char in ")]}")
        if char == "," and not quote and depth == 0:
            found.append("")
        else:
            found[-1] += char
    if quote or depth:
        raise UserError(
            f"--grid was given {values!r}, in which a bracket or a quote has no partner; "
            'write tuples as in --grid "config.data.resize=(24,24),(32,32)"'
        )
    return found


def _name(config: str, settings: Sequence[str], seed: int) -> str:
    """The name of a run's folder.

    >>> _name("configs/darts_first.py:cifar10", ["config.search.rate=0.1"], 2)
    'darts_first-cifar10-search.rate=0.1-seed2'
    """
    file, _, variant = config.partition(":")
    parts = [Path(file).stem, *[variant] * bool(variant)]
    parts += [each.removeprefix("config.") for each in settings]
    return re.sub(r"[^\w.=+-]", "_", "-".join([*parts, f"seed{seed}"]))
