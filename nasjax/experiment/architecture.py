"""The architecture that a config names in `config.genotype`, its space and its data."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from nasjax.core.errors import UserError
from nasjax.core.files import read_json
from nasjax.engine.workdir import RunFolder, check_format
from nasjax.experiment import defaults, validate
from nasjax.spaces import DARTS_7, SPACES, CellSpace
from nasjax.spaces import genotype as genotypes
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.load import load


def settings(arg: str | None = None) -> ConfigDict:
    """The settings of a training without a search, for `defaults.VARIANTS`.

    The space is the architecture's. On CIFAR-10 at NAS-Bench-201's size the recipe is
    the benchmark's: 200 epochs, learning rate 0.1 (Dong, Yang, arXiv 2001.00326, table
    2); in the small setting 12 epochs.
    """
    config = defaults.settings(arg)
    if not config.space.name:
        config.space.primitives = ()
    if arg and arg.startswith("nasbench201"):
        config.data.fractions = (0.4, 0.4, 0.2)
        config.retrain.update(
            epochs=12 if arg == defaults.SMALL else 200, batch=256, rate=0.1,
            weight_decay=5e-4, clip=0.0,
        )  # fmt: skip
    return config


def inherit(config: ConfigDict, given: Collection[str]) -> None:
    """Takes the kind of data, the data and the space of the run that a config names.

    Nothing changes if `config.genotype` is not the folder of a run.

    Args:
      config: is changed.
      given: dotted names of fields that keep their values, such as "data.path".

    Raises:
      UserError: the run is of another version.
    """
    if not config.genotype or not os.path.isdir(config.genotype):
        return
    known = of_run(Path(config.genotype))
    groups = ["data", "space"]
    if known.task in known:
        groups.append(known.task)
    with config.unlocked():
        if "task" not in given:
            config.task = known.task
        for group in groups:
            for name, value in known[group].items():
                if f"{group}.{name}" not in given:
                    config[group][name] = value
    for group in () if config.space.share else ("search", "retrain"):
        if f"{group}.cells" not in given:
            config[group].cells = known.search.cells


def of_run(path: Path) -> ConfigDict:
    """The config of a run; fields that its version lacked have their defaults of today.

    Raises:
      UserError: there is no run, or its config has another format.
    """
    folder = RunFolder.read(path)
    stored = folder.read_outcome("config") or {}
    check_format(folder.path, stored, defaults.FORMAT)
    config = ConfigDict(_filled(stored, defaults.settings().to_dict()))
    defaults.by_data(config)
    return config


def as_begun(config: ConfigDict, workdir: str | os.PathLike[str]) -> ConfigDict:
    """The config, with the architecture that a run in `workdir` began with.

    A run resumes if the file of `config.genotype` has changed or is gone. A finished run
    does not take the place of a run of a changed file.
    """
    text, path = config.get("genotype"), Path(workdir).expanduser()
    if not text or not os.path.isdir(path):
        return config
    begun = (read_json(path / "manifest.json") or {}).get("genotype")
    stored = (read_json(path / "config.json") or {}).get("genotype")
    finished = (path / "result.json").exists()
    if begun != text or not stored or (finished and os.path.exists(text)):
        return config
    same = config.copy_and_resolve_references()
    same.genotype = stored
    return same


def resolve(config: ConfigDict) -> Genotype | None:
    """The architecture of `config.genotype`; None if the config searches for one.

    `config.genotype` becomes its JSON, so that a run does not change with a file. An
    open `config.space`, without a name and without primitives, becomes its space.

    Raises:
      UserError: there is no such genotype, or nothing is trained.
    """
    if not config.genotype:
        return None
    opened = not config.space.name and not config.space.primitives
    if not config.retrain.epochs:
        raise UserError(
            "config.genotype is given, but config.retrain.epochs is 0, and nothing would "
            "be done; set --config.retrain.epochs=20."
        )
    space = None if opened else validate.space(config.space)
    found = load(config.genotype, space)
    with config.unlocked():
        config.genotype = json.dumps(found.to_json())
        if opened:
            _space(config, found)
    return found


def _space(config: ConfigDict, found: Genotype) -> None:
    """Sets the space of a config to the space of a genotype."""
    names = [name for name, space in SPACES.items() if space.name == found.space]
    cells = len(found.cells)
    if set(found.cells) == {f"cell_{index}" for index in range(cells)}:
        config.space.share, config.search.cells = False, cells
        if config.retrain.cells != cells:
            raise UserError(
                f"The genotype has {cells} cells, each for its place, but the network "
                f"has {config.retrain.cells}; set --config.retrain.cells={cells}."
            )
    if found.space == "darts":  # of any primitives
        used = [op for cell in found.cells.values() for op, _ in cell]
        config.space.primitives = tuple(dict.fromkeys((*DARTS_7, *used)))
    else:
        config.space.name = names[0]


def _filled(given: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """`given`, with the fields of `known` that it lacks."""
    inner = {k: v for k, v in given.items() if isinstance(v, dict) and k in known}
    return known | given | {k: _filled(v, known[k]) for k, v in inner.items()}


def check(found: Genotype, space: CellSpace) -> None:
    """Refuses an architecture that does not lie in the space of a config."""
    try:
        genotypes.check(found, space)
    except UserError as error:
        raise UserError(
            f"config.genotype is not in config.space. {error} configs/retrain.py takes "
            "the space of the genotype."
        ) from None
