"""Config files: a file of the user, or a config that ships with nasjax by its name."""

from __future__ import annotations

import os
from pathlib import Path

import nasjax
from nasjax.core.errors import UserError, short, unknown


def folder() -> Path:
    """The folder of the configs that ship with nasjax.

    An installed package holds them as `nasjax.configs`; in a clone they are in `configs`.
    """
    package = Path(nasjax.__file__).parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def shipped() -> dict[str, str]:
    """The names of the configs that ship with nasjax, and their first sentences."""
    files = sorted(folder().glob("[!_]*.py"))
    first = lambda file: file.read_text("utf-8").partition("\n")[0].strip('"')
    return {file.stem: first(file) for file in files}


def table() -> list[str]:
    """The shipped configs as lines of text: name and first sentence."""
    known = shipped()
    width = max(map(len, known), default=0)
    return [f"  {name:<{width}}  {about}" for name, about in known.items()]


def find(given: str) -> str:
    """The file of a config, with its :variant.

    Args:
      given: "FILE", or the name of a shipped config as "NAME", "NAME.py" or
        "configs/NAME.py"; each with an optional ":VARIANT". A file that exists is taken
        first.

    Raises:
      UserError: there is neither such a file nor such a config.
    """
    file, colon, variant = given.partition(":")
    if os.path.isfile(file):
        return given
    if os.path.dirname(file) in ("", "configs"):
        name = os.path.basename(file).removesuffix(".py")
        if name in shipped():
            return f"{folder() / name}.py{colon}{variant}"
    if os.path.isdir(file):
        raise UserError(f"The config {file!r} is a folder; give a file in it.")
    hint = str(unknown("config", os.path.basename(file), shipped())).rstrip(".")
    raise UserError(
        f"There is no config file {short(file)!r}. {hint}; or give a Python file with a "
        "get_config function."
    )
