"""The smallest run and the smallest supernet that use all parts of the code."""

from ml_collections import ConfigDict

from nasjax.spaces import Macro


class TwoCells(Macro):
    """A normal cell, then a reduction: the fewest cell bodies that use both alphas."""

    reductions = (1,)


PRIMITIVES = ("skip_connect", "max_pool_3x3")
FIELDS = {
    "devices": 1,
    "log_every": 2,
    "space.primitives": PRIMITIVES,
    "search.channels": 2,
    "search.epochs": 2,
    "search.warmup_epochs": 1,
    "search.batch": 32,
    "retrain.channels": 2,
    "retrain.epochs": 1,
    "retrain.batch": 32,
    "retrain.random": 1,
}


def shrink(config: ConfigDict, primitives: tuple[str, ...] = PRIMITIVES) -> ConfigDict:
    """The config, updated with `FIELDS`."""
    config.update_from_flattened_dict({**FIELDS, "space.primitives": primitives})
    return config


def flags(**more: object) -> list[str]:
    """`FIELDS` and `more` as command-line flags; a double underscore means a dot."""
    fields = FIELDS | {name.replace("__", "."): value for name, value in more.items()}
    return [f"--config.{name}={value}" for name, value in fields.items()]
