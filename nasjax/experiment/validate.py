"""Checks of a config, before anything is computed or written."""

from __future__ import annotations

import functools
import os
from collections.abc import Collection, Mapping

from ml_collections import ConfigDict

from nasjax import saliency
from nasjax.collapse.early_stopping import adapt
from nasjax.collapse.rollback import REMEDIES
from nasjax.core.errors import UserError, unknown, unregistered
from nasjax.core.limits import Limit, Range, Size, above, at_least, one_of
from nasjax.engine.devices import MODES
from nasjax.experiment import defaults
from nasjax.nets.layers import DTYPES, REMATS
from nasjax.nets.lowering import SPELLINGS
from nasjax.nets.operations import operation
from nasjax.search import PARTS
from nasjax.search.stages import EDGES
from nasjax.spaces import SPACES, CellSpace, darts
from nasjax.tasks import DOMAINS

_NETWORK: dict[str, Limit] = {  # of the network that is searched or retrained
    "channels": at_least(2),
    "cells": at_least(1),
    "batch": at_least(1),
    "rate": at_least(0.0),
    "momentum": Range(0.0, 1.0),
    "weight_decay": at_least(0.0),
    "clip": at_least(0.0),
    "cutout": at_least(0),
    "drop_path": Range(0.0, 1.0),
    "auxiliary": at_least(0.0),
    "warmup_epochs": at_least(0),
}

SEEDS = 2**32  # keys hold 32 bits

# Of fields by group; "" is the config itself. Parts have their own.
LIMITS: dict[str, Mapping[str, Limit]] = {
    "": {
        "seed": Range(0, SEEDS),
        "seeds": at_least(1),
        "seeds_at_once": at_least(0),
        "parallel": one_of(*MODES),
        "devices": at_least(0),
        "lowering": one_of(*SPELLINGS),
        "precision": one_of(*DTYPES),
        "remat": one_of(*REMATS),
        "log_every": at_least(1),
        "checkpoint_every": at_least(1),
    },
    "data": {
        "split_seed": at_least(0),
        "resize": Size((0,)),
        "crop": Size((True, False)),
        "shrink": at_least(1),
        "pad": at_least(0),
    },
    "space": {"edges": one_of(*EDGES), "none": one_of("auto", "kept", "barred")},
    "search": _NETWORK
    | {
        "epochs": at_least(1),
        "rate_min": at_least(0.0),
        "alpha_spread": at_least(0.0),
    },
    "collapse": {
        "interval": at_least(0),
        "images": at_least(1),
        "products": at_least(1),
        "probes": at_least(0),
        "remedy": one_of(*REMEDIES),
        "penalty": at_least(0.0),
        "most_skips": at_least(0),
    },
    "saliency": {
        "steps": at_least(1),
        "eps": above(0.0),
        "step": above(0.0),
        "target": one_of(*saliency.TARGETS),
        "mode": one_of(*saliency.MODES),
        "ascent": one_of(*saliency.ASCENTS),
        "rate": at_least(0.0),
    },
    "retrain": _NETWORK
    | {
        "epochs": at_least(0),  # 0: search only
        "schedule": one_of("cosine", "linear"),
        "label_smoothing": Range(0.0, 1.0),
        "seeds": at_least(1),
        "random": at_least(0),
    },
}


def head(given: ConfigDict) -> None:
    """Refuses a config of another format, or with unknown parts."""
    if not isinstance(given, ConfigDict):
        raise UserError(
            f"The config is a {type(given).__name__}; expected the ConfigDict that a "
            "get_config() returns, as in configs/zarts_mgs.py."
        )
    if given.get("format") != defaults.FORMAT:
        raise UserError(
            "The config is from another version of nasjax, whose fields had other "
            f"names or meanings (format {given.get('format')}, here "
            f"{defaults.FORMAT}); start from a config in configs/."
        )
    known = defaults.settings()
    for name in ("algorithm", "arch", "task"):
        _has(given, name, "config")
        of_kind(given[name], known[name], f"config.{name}")
    if given.task not in DOMAINS:
        raise unregistered("config.task", given.task, DOMAINS)
    for name in given.arch:
        if name not in PARTS:
            raise unregistered("part of config.arch", name, PARTS)


def config(given: ConfigDict) -> ConfigDict:
    """A locked copy of a config, after its names and values are checked."""
    head(given)
    given = ConfigDict(defaults.pruned(given.to_dict()))
    known = ConfigDict(
        defaults.pruned(
            {**defaults.settings(), "algorithm": given.algorithm, "task": given.task}
        )
    )
    _same_fields(given, known, "config")
    _values(given)
    if given.retrain.reweighted and not given.retrain.epochs:
        raise UserError(
            "config.retrain.reweighted is True, but nothing is retrained; set "
            "--config.retrain.epochs=20."
        )
    if given.collapse.remedy != "none" and not given.collapse.interval:
        raise UserError(
            f"config.collapse.remedy is {given.collapse.remedy!r}, but the eigenvalues "
            "it uses are not measured; set --config.collapse.interval=2."
        )
    if not given.space.share and given.retrain.cells != given.search.cells:
        raise UserError(
            f"With --config.space.share=False every cell is found for its place, but "
            f"the search has {given.search.cells} cells and retraining "
            f"{given.retrain.cells}; set --config.retrain.cells and "
            "--config.search.cells to the same number."
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
    """The space of `config.space`: a named space, or the DARTS space over `primitives`.

    The primitives have to be known and distinct; one has to be other than "none". Whether
    genotypes may hold `none` is the space's rule, or `config.space.none`.
    """
    name = given.name
    if name and name not in SPACES:
        raise unregistered("space", name, SPACES)
    if name and not SPACES[name].prunes and given.edges != "pruned":
        raise UserError(
            f"Space {name!r} keeps all of its edges, but config.space.edges is "
            f'{given.edges!r}; leave it "pruned".'
        )
    if given.table and not given.share:
        raise UserError(
            f"config.space.table is {given.table!r}, whose architectures repeat one "
            "cell, but every cell of the search differs; set --config.space.share=True."
        )
    if given.table and name != "nasbench201":
        raise UserError(
            f"config.space.table is {given.table!r}, a table of NAS-Bench-201, but the "
            "search is in another space; set --config.space.name=nasbench201."
        )
    names = SPACES[name].primitives if name else tuple(given.primitives)
    for each in names:
        operation(each)
    if name:
        return _read(SPACES[name], given.none)
    if not set(names) - {"none"} or len(set(names)) < len(names):
        raise UserError(
            f"The primitives are {list(names)}; expected distinct names, at least one "
            "of them other than 'none', in --config.space.primitives."
        )
    return _read(darts(names), given.none)


def _read(space: CellSpace, none: str) -> CellSpace:
    """The space whose genotypes may hold `none` as `config.space.none` says."""
    if none == "kept" and not space.none and not space.readings():
        reason = f"has no operation 'none' (it has {', '.join(space.primitives)})"
        if "none" in space.primitives:
            reason = (
                "keeps the strongest edges of every node, where an edge of 'none' would "
                "take the place of an edge that carries something"
            )
        raise UserError(
            f"config.space.none is 'kept', but space {space.name!r} {reason}; set "
            "--config.space.none=auto."
        )
    return space if none == "auto" else space._replace(none=none == "kept")


def of_run(config: ConfigDict) -> CellSpace:
    """The space of a run, with an alpha for every cell if they share none.

    Raises:
      UserError: the fields of config.space do not make a space.
    """
    made = space(config.space)
    return made if config.space.share else made.separate(config.search.cells)


def _same_fields(given: ConfigDict, known: ConfigDict, path: str) -> None:
    """Checks that the names and the kinds of the values are the same."""
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
        elif known.get_type(name) is not object:  # a limit checks it
            of_kind(value, example, f"{path}.{name}")


def unknown_field(name: str, known: Collection[str]) -> UserError:
    """The error for a field that a config lacks; it lists the fields of its group.

    >>> print(unknown_field("config.data.x", ["config.lowering", "config.data.pad"]))
    Unknown config field 'config.data.x'; did you mean 'config.data.pad'? Known: config.data.pad.
    """
    group = name
    while group and not any(each.startswith(f"{group}.") for each in known):
        group = group.rpartition(".")[0]
    inside = (each for each in known if each.startswith(f"{group}."))
    depth = group.count(".") + 2
    listed = {".".join(each.split(".")[:depth]) for each in inside}
    return unknown("config field", name, known, listed)


def _has(given: ConfigDict, name: str, path: str) -> None:
    if name not in given:
        raise UserError(f"The config lacks {path}.{name}; start from a get_config().")


def of_kind(value: object, example: object, where: str) -> None:
    """Refuses a value of another kind than the example."""
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


def _values(given: ConfigDict) -> None:
    """Numbers are in their ranges, and choices among those there are."""
    groups = [*LIMITS.items()]
    if limits := DOMAINS[given.task].limits:
        groups.append((given.task, limits))
    groups += [(f"arch.{name}", PARTS[name].limits) for name in given.arch]
    for group, limits in groups:
        fields = functools.reduce(getattr, filter(None, group.split(".")), given)
        for name, limit in limits.items():
            where = ".".join(filter(None, ("config", group, name)))
            if name in fields:  # fields of commands are pruned
                limit.check(fields[name], where)
    cache = given.compile_cache
    if cache not in ("auto", "off") and os.sep not in cache:
        raise UserError(
            f"config.compile_cache is {cache!r}; expected 'auto', 'off', or a folder "
            "with its path, such as './compiled'."
        )
