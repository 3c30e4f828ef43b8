"""What can be wrong with a config, said before anything is computed or written."""

from __future__ import annotations

from collections.abc import Iterable

from ml_collections import ConfigDict

from nasjax.data.splits import Splits
from nasjax.errors import UserError, unknown
from nasjax.nets.operations import OPERATIONS
from nasjax.parallel import check_batch
from nasjax.search import ALGORITHMS
from nasjax.spaces import Macro

# Smallest value of a number, by its name anywhere in the config.
AT_LEAST = {
    "batch": 1,
    "cells": 1,
    "channels": 2,
    "checkpoint_every": 1,
    "cutout": 0,
    "devices": 0,
    "epochs": 1,
    "every": 1,
    "inner_rate": 0,
    "inner_steps": 0,
    "log_every": 1,
    "pad": 0,
    "rate": 0,
    "rate_min": 0,
    "samples": 1,
    "seed": 0,
    "warmup_epochs": 0,
    "weight_decay": 0,
    "clip": 0,
    "auxiliary": 0,
    "drop_path": 0,
    "momentum": 0,
    "mixture": 0,
    "spread": 0,
}


def config(given: ConfigDict) -> ConfigDict:
    """A locked copy of a config whose names are known and whose numbers make sense."""
    from nasjax import defaults

    if not isinstance(given, ConfigDict):
        raise UserError(
            f"The config is a {type(given).__name__}, expected the ConfigDict that a "
            "get_config() returns, such as that of configs/zarts_mgs.py."
        )
    if given.get("algorithm") not in ALGORITHMS:
        raise unknown("algorithm", given.get("algorithm", ""), ALGORITHMS)
    _same_fields(given, defaults.settings(), "config")
    _numbers(given, "config")
    if given.search.warmup_epochs >= given.search.epochs:
        raise UserError(
            f"The search has {given.search.epochs} epochs and {given.search.warmup_epochs} "
            "of them warm up, so alpha would never move; set "
            "--config.search.warmup_epochs below --config.search.epochs."
        )
    for name in ("drop_path", "momentum"):
        if given.retrain[name] >= 1:
            raise UserError(
                f"config.retrain.{name} is {given.retrain[name]}; expected 0 to below 1."
            )
    copy = ConfigDict(given.to_dict())
    copy.lock()
    return copy


def primitives(given: Iterable[str]) -> tuple[str, ...]:
    """The operation list of a space: known, distinct, and at least one to keep."""
    names = tuple(given)
    for name in names:
        if name not in OPERATIONS:
            raise unknown("primitive", name, OPERATIONS)
    if not set(names) - {"none"} or len(set(names)) < len(names):
        raise UserError(
            f"The primitives are {list(names)}; expected distinct names, at least one "
            "of them other than 'none', in --config.space.primitives."
        )
    return names


def sizes(config: ConfigDict, data: Splits, devices: int) -> None:
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
        check_batch(batch, devices)
    side = min(data.weights.image.shape[1:3])
    for part in (config.search, config.retrain):
        Macro(part.channels, part.cells).map_sizes(side)


def _same_fields(given: ConfigDict, known: ConfigDict, path: str) -> None:
    for name in known:
        if name not in given:
            raise UserError(
                f"The config lacks {path}.{name}; start from a get_config()."
            )
    for name, value in given.items():
        if name not in known:
            if (path, name) == ("config", "arch"):
                continue
            raise unknown(
                "config field", f"{path}.{name}", [f"{path}.{k}" for k in known]
            )
        if isinstance(known[name], ConfigDict):
            _same_fields(value, known[name], f"{path}.{name}")


def _numbers(given: ConfigDict, path: str) -> None:
    for name, value in given.items():
        if isinstance(value, ConfigDict):
            _numbers(value, f"{path}.{name}")
        elif name in AT_LEAST and not (
            isinstance(value, int | float) and AT_LEAST[name] <= value < float("inf")
        ):
            raise UserError(
                f"{path}.{name} is {value!r}; expected a number from {AT_LEAST[name]}."
            )
