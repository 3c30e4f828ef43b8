"""The devices that JAX finds; a sentence where it finds none."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import jax

from nasjax.core.errors import UserError

INSTALL = {  # platform of JAX_PLATFORMS: how JAX gets it
    "cpu": "reinstall jax",
    "cuda": "type pip install 'nasjax[cuda12]'",
    "gpu": "type pip install 'nasjax[cuda12]'",
    "rocm": "install JAX for AMD (docs.jax.dev/en/latest/installation.html)",
    "tpu": "type pip install 'jax[tpu]'",
}
_WANTED = "jax_platforms"
KNOWN = ", ".join(INSTALL)
ON_CPU = "to use the CPU, set JAX_PLATFORMS=cpu."


def devices() -> list[jax.Device]:
    """`jax.devices()`.

    Raises:
      UserError: there are none of the platforms that JAX_PLATFORMS names.
    """
    try:
        return jax.devices()
    except (RuntimeError, AssertionError) as error:
        raise _missing(str(error), getattr(jax.config, _WANTED) or "") from None


def unused() -> str | None:
    """A sentence if JAX computes on the CPU beside an NVIDIA GPU that it cannot use."""
    if jax.default_backend() != "cpu" or getattr(jax.config, _WANTED):
        return None
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return None
    return (
        "There is an NVIDIA GPU that JAX does not use; pip install 'nasjax[cuda12]' adds "
        "what it needs, and JAX_PLATFORMS=cuda tells why if it is not used then."
    )


def _missing(reason: str, wanted: str) -> UserError:
    """The error for no device.

    Args:
      reason: JAX's, which may be empty.
      wanted: value of JAX_PLATFORMS.
    """
    what = "JAX finds no device"
    if wanted:
        what = f"JAX_PLATFORMS is {wanted!r}, and JAX finds no such device"
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        visible = os.environ["CUDA_VISIBLE_DEVICES"]
        what += f" (CUDA_VISIBLE_DEVICES is {visible!r})"
    names = wanted.split(",") if wanted else []
    for name in names:
        if name not in INSTALL:
            near = difflib.get_close_matches(name.lower(), INSTALL, 1)
            meant = f" (did you mean {near[0]!r}?)" if near else ""
            return UserError(f"{what}: {name!r} is none of {KNOWN}{meant}; {ON_CPU}")
    if "known backends" not in reason and reason:
        what += f": {reason.splitlines()[0].partition(' (set JAX')[0][:300]}"
    install = dict.fromkeys(INSTALL[name] for name in names)
    having = f"if this machine has one, {' or '.join(install)}; " if install else ""
    return UserError(f"{what}; {having}{ON_CPU}")
