"""What can be wrong with a config, said before anything is computed or written."""

from __future__ import annotations

import os

from ml_collections import ConfigDict

from nasjax import saliency
from nasjax.collapse.early_stopping import adapt
from nasjax.collapse.rollback import REMEDIES
from nasjax.core.errors import UserError, unknown
from nasjax.data.splits import Splits
from nasjax.engine.devices import MODES, SPLITS, Devices
from nasjax.experiment import defaults
from nasjax.nets.layers import DTYPES, REMATS
from nasjax.nets.lowering import SPELLINGS
from nasjax.nets.operations import OPERATIONS
from nasjax.search import PARTS
from nasjax.search.saliency_level import ASCENTS
from nasjax.search.stages import EDGES
from nasjax.spaces import SPACES, CellSpace, Macro, darts

# Smallest value of a number, by its name anywhere in the config or by its own place. A
# bound that is an integer is that of an integer field.
AT_LEAST: dict[str, int | float] = {
    "alpha_spread": 0.0,
    "auxiliary": 0.0,
    "attack_steps": 1,
    "b1": 0.0,
    "b2": 0.0,
    "batch": 1,
    "cells": 1,
    "channels": 2,
    "checkpoint_every": 1,
    "config.retrain.epochs": 0,  # search only
    "chunk": 0,
    "clip": 0.0,
    "cutout": 0,
    "damping": 0.0,
    "devices": 0,
    "drop_path": 0.0,
    "epochs": 1,
    "eps": 0.0,
    "eps_end": 0.0,
    "eps_start": 0.0,
    "eta": 0.0,
    "every": 1,
    "gamma": 0.0,
    "inner_rate": 0.0,
    "inner_steps": 0,
    "label_smoothing": 0.0,
    "log_every": 1,
    "images": 1,
    "interval": 0,
    "max_radius": 0.0,
    "max_steps": 1,
    "min_radius": 0.0,
    "mixture": 0.0,
    "most_skips": 0,
    "momentum": 0.0,
    "most": 0.0,
    "neumann_rate": 0.0,
    "pad": 0,
    "penalty": 0.0,
    "probes": 0,
    "products": 1,
    "radius": 0.0,
    "rate": 0.0,
    "rate_min": 0.0,
    "samples": 1,
    "w2_every": 1,
    "seed": 0,
    "shrink": 1,
    "split_seed": 0,
    "spread": 0.0,
    "step": 0.0,
    "steps": 1,
    "temperature": 0.0,
    "terms": 1,
    "tolerance": 0.0,
    "warmup_epochs": 0,
    "weight": 0.0,
    "weight_decay": 0.0,
}

# Numbers whose range has another end, or an open one.
BELOW_ONE = ("b1", "b2", "drop_path", "label_smoothing", "momentum")
AT_MOST_ONE = ("mixture",)
ABOVE_LEAST = (
    "eps", "max_radius", "min_radius", "most", "neumann_rate", "radius", "step", "temperature",
)  # fmt: skip

CHOICES = {
    "ascent": ASCENTS,
    "curvature": ("ggn", "hessian"),
    "distribution": ("sphere", "normal", "ball"),
    "edges": EDGES,
    "inner_part": ("weights", "arch"),
    "inverse": ("neumann", "cg"),
    "lowering": SPELLINGS,
    "mode": saliency.MODES,
    "noise": ("uniform", "normal"),
    "norm": ("linf", "l2"),
    "precision": DTYPES,
    "remat": REMATS,
    "parallel": MODES,
    "proposal": ("mixture", "sum"),
    "remedy": REMEDIES,
    "schedule": ("cosine", "linear"),
    "split": SPLITS,
    "weights": ("importance", "likelihood"),
}


def head(given: ConfigDict) -> None:
    """Refuses a config that is none of this version, or names no parts."""
    if not isinstance(given, ConfigDict):
        raise UserError(
            f"The config is a {type(given).__name__}, expected the ConfigDict that a "
            "get_config() returns, such as that of configs/zarts_mgs.py."
        )
    if given.get("format") != defaults.FORMAT:
        raise UserError(
            "The config is one of an older version of nasjax, in which config.base and "
            "config.arch meant something else; start from a config of configs/."
        )
    known = defaults.settings()
    for name in ("algorithm", "arch"):
        _has(given, name, "config")
        _of_kind(given[name], known[name], f"config.{name}")
    for name in given.arch:
        if name not in PARTS:
            raise unknown("part of config.arch", name, PARTS)


def config(given: ConfigDict) -> ConfigDict:
    """A locked copy of a config whose names are known and whose numbers make sense."""
    head(given)
    given = ConfigDict(defaults.pruned(given.to_dict()))
    known = ConfigDict(
        defaults.pruned({**defaults.settings(), "algorithm": given.algorithm})
    )
    _same_fields(given, known, "config")
    _values(given, "config")
    if given.seed >= 2**32:
        raise UserError(
            f"config.seed is {given.seed}; expected an integer below {2**32}, because "
            "keys hold 32 bits of it."
        )
    if given.retrain.reweighted and not given.retrain.epochs:
        raise UserError(
            "config.retrain.reweighted is True, but nothing is retrained; set "
            "--config.retrain.epochs=20."
        )
    if given.collapse.remedy != "none" and not given.collapse.interval:
        raise UserError(
            f"config.collapse.remedy is {given.collapse.remedy!r}, but the eigenvalues "
            "it looks at are not measured; set --config.collapse.interval=2."
        )
    decay = given.search.weight_decay
    if given.collapse.remedy == "adapt" and (not decay or adapt(decay) is None):
        raise UserError(
            f"config.collapse.remedy is 'adapt', which multiplies the weight decay up to "
            f"0.03, but config.search.weight_decay is {decay:g}; set "
            "--config.search.weight_decay=3e-4."
        )
    given.lock()
    return given


def space(given: ConfigDict) -> CellSpace:
    """The space of `config.space`: a named one, or that over a list of operations, which
    are known, distinct, and at least one of them to keep."""
    name = given.name
    if name and name not in SPACES:
        raise unknown("space", name, SPACES)
    if name and not SPACES[name].prunes and given.edges != "pruned":
        raise UserError(
            f"Space {name!r} keeps all of its edges, but config.space.edges is "
            f'{given.edges!r}; leave it "pruned".'
        )
    if given.table and not given.share:
        raise UserError(
            f"config.space.table is {given.table!r}, whose architectures have one cell, "
            "but every cell of the search is its own; leave config.space.share True."
        )
    if given.table and name != "nasbench201":
        raise UserError(
            f"config.space.table is {given.table!r}, a table of NAS-Bench-201, but the "
            "search is in another space; set --config.space.name=nasbench201."
        )
    if name:
        return SPACES[name]
    names = tuple(given.primitives)
    for name in names:
        if name not in OPERATIONS:
            raise unknown("primitive", name, OPERATIONS)
    if not set(names) - {"none"} or len(set(names)) < len(names):
        raise UserError(
            f"The primitives are {list(names)}; expected distinct names, at least one "
            "of them other than 'none', in --config.space.primitives."
        )
    return darts(names)


def sizes(config: ConfigDict, space: CellSpace, data: Splits, devices: Devices) -> None:
    """Batches fit their parts and the devices; images survive the reductions."""
    parts = {"weight": data.weights.label, "architecture": data.arch.label}
    smallest = min(parts, key=lambda name: len(parts[name]))
    known = sum(len(label) for label in parts.values())
    for name, batch, size, where in (
        ("search", config.search.batch, len(parts[smallest]), f"the {smallest} part"),
        ("retrain", config.retrain.batch, known, "the training data"),
    ):
        if batch > size:
            raise UserError(
                f"A batch of {batch} is larger than {where}, which has {size} images; "
                f"set --config.{name}.batch to at most {size}."
            )
        devices.check_batch(batch)
    if not config.space.share and config.retrain.cells != config.search.cells:
        raise UserError(
            f"With --config.space.share=False every cell is found for its place, but "
            f"the search has {config.search.cells} cells and retraining "
            f"{config.retrain.cells}; set --config.retrain.cells and "
            "--config.search.cells to the same number."
        )
    shape = data.weights.image.shape[1:]
    for part in (config.search, config.retrain):
        macro = Macro.of_images(space, part.channels, part.cells, shape)
        macro.map_sizes(min(shape[:2]))


def _same_fields(given: ConfigDict, known: ConfigDict, path: str) -> None:
    """The same names, and values of the same kinds."""
    for name in known:
        _has(given, name, path)
    for name, value in given.items():
        if name not in known:
            raise unknown(
                "config field", f"{path}.{name}", [f"{path}.{k}" for k in known]
            )
        example = known[name]
        if isinstance(example, ConfigDict) and isinstance(value, ConfigDict):
            _same_fields(value, example, f"{path}.{name}")
        else:
            _of_kind(value, example, f"{path}.{name}")


def _has(given: ConfigDict, name: str, path: str) -> None:
    if name not in given:
        raise UserError(f"The config lacks {path}.{name}; start from a get_config().")


def _of_kind(value: object, example: object, where: str) -> None:
    if not _alike(value, example):
        raise UserError(f"{where} is {value!r}; expected {_KINDS[type(example)]}.")


_KINDS = {
    ConfigDict: "a group of fields, as a get_config() makes it",
    bool: "True or False",
    int: "an integer",
    float: "a number",
    str: "a string",
    tuple: "a tuple, such as ('skip_connect', 'sep_conv_3x3')",
}


def _alike(value: object, example: object) -> bool:
    if isinstance(example, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(example, bool)
    if isinstance(example, float):
        return isinstance(value, int | float)
    if isinstance(example, tuple):
        return isinstance(value, tuple | list)
    return isinstance(value, type(example))


def _values(given: ConfigDict, path: str) -> None:
    """Numbers are in their ranges, and choices among those there are."""
    for name, value in given.items():
        where = f"{path}.{name}"
        if isinstance(value, ConfigDict):
            _values(value, where)
        elif name == "compile_cache":
            if value not in ("auto", "off") and os.sep not in value:
                raise UserError(
                    f"{where} is {value!r}; expected 'auto', 'off', or a folder with "
                    "its path, such as './compiled'."
                )
        elif name in CHOICES and value not in CHOICES[name]:
            raise unknown(where, value, CHOICES[name])
        elif name in AT_LEAST:
            _number(value, name, where)


def _number(value: object, name: str, where: str) -> None:
    least = AT_LEAST.get(where, AT_LEAST[name])
    whole = isinstance(least, int)
    kinds = int if whole else int | float
    if (
        isinstance(value, bool)
        or not isinstance(value, kinds)
        or not least <= value < float("inf")
        or (name in BELOW_ONE and value >= 1)
        or (name in AT_MOST_ONE and value > 1)
        or (name in ABOVE_LEAST and value == least)
    ):
        kind = "an integer" if whole else "a number"
        below = " to below 1" if name in BELOW_ONE else ""
        most = " to 1" if name in AT_MOST_ONE else ""
        start = "above" if name in ABOVE_LEAST else "from"
        raise UserError(
            f"{where} is {value!r}; expected {kind} {start} {least:g}{below}{most}."
        )
