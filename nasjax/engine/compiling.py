"""How programs are compiled, and kept on disk so that a second start loads them."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from jax.experimental.compilation_cache import compilation_cache

from nasjax.core.errors import UserError

_FOLDER = "jax_compilation_cache_dir"
_QUICK: dict[str, str | bool] = {"xla_cpu_opt_preset": "CPU_OPT_PRESET_FAST_COMPILE"}
_GPU: dict[str, str | bool] = {
    "xla_gpu_enable_triton_gemm": False,  # XLA of JAX 0.11 aborts in it
    "xla_gpu_autotune_level": "0",
}


@functools.cache
def compiler_options(
    level: int | None = None, platform: str | None = None
) -> dict[str, str | bool]:
    """What to give jax.jit as `compiler_options`.

    On a CPU XLA's quick preset: a supernet's steps compile in two thirds of the time
    and memory and are no slower (docs/performance.md). On a GPU products go to the
    library, untimed: a step's program has hundreds of shapes, each timed otherwise.

    Args:
      level: of LLVM's optimisation on a CPU, 0 to 3; None: XLA's default. Where JAX is
        set to optimise next to nothing, that stands.
      platform: that is compiled for; None: JAX's default.
    """
    device = jax.devices(platform)[0]
    if device.platform not in ("cpu", "gpu"):
        return {}
    options = _QUICK if device.platform == "cpu" else _GPU
    plain = jax.config.read("jax_disable_most_optimizations")
    if device.platform == "cpu" and level is not None and not plain:
        options = {**options, "xla_backend_optimization_level": str(level)}
    try:
        with jax.default_device(device):
            jax.jit(lambda: 0).lower().compile(options)
    except jax.errors.JaxRuntimeError:  # an XLA without such an option
        return {}
    return options


def side_by_side(
    lower: Mapping[str, Callable[[], Any]],
    options: Mapping[str, str | bool] | None = None,
) -> dict[str, Any]:
    """Programs compiled at the same time.

    Args:
      lower: name -> a function that traces and lowers, as `jitted.lower` does. They are
        called one after the other, and XLA compiles without the GIL.
      options: of the compiler; None: `compiler_options()`.
    """
    if options is None:
        options = compiler_options()
    with ThreadPoolExecutor() as pool:
        jobs = {
            name: pool.submit(make().compile, options) for name, make in lower.items()
        }
        compiled = {name: job.result() for name, job in jobs.items()}
    with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)  # it would keep the GB that XLA has freed
    return compiled


@contextlib.contextmanager
def compiled_programs(setting: str, by_jax: bool = True) -> Iterator[Path | None]:
    """Keeps what is compiled inside in a folder; yields it, or None.

    With "auto" JAX's own setting (JAX_COMPILATION_CACHE_DIR) goes first: where there is
    one nothing is done. All of JAX's settings are as they were afterwards.

    Args:
      setting: "auto" for a folder of this user and this kind of machine, "off", or a
        folder.
      by_jax: JAX keeps it there. Otherwise the caller does, by `nasjax.engine.programs`, and
        JAX keeps nothing: on a CPU what it has loaded cannot be serialised again.

    Raises:
      UserError: that folder cannot be made.
    """
    if setting == "auto" and getattr(jax.config, _FOLDER):
        yield None
        return
    folder = None if setting == "off" else _folder(setting)
    ours = {
        _FOLDER: str(folder) if folder and by_jax else None,
        "jax_persistent_cache_min_compile_time_secs": 0.1,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        # Where each operation was traced is half of what would be written.
        "jax_traceback_in_locations_limit": 0,
    }
    before = {name: getattr(jax.config, name) for name in ours}
    _set(ours)
    try:
        yield folder
    finally:
        _set(before)


def _folder(setting: str) -> Path | None:
    try:
        folder = _default() if setting == "auto" else Path(setting).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:
        if setting == "auto":  # a home that cannot be written: compile every time
            return None
        raise UserError(
            f"The folder {setting!r} for compiled programs cannot be made ({error}); "
            "give another one with --config.compile_cache, or 'auto', or 'off'."
        ) from error
    return folder


def _set(values: dict) -> None:
    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX looks at the folder once


def _default() -> Path:
    """A folder for each kind of processor: programs for a CPU use what it can do."""
    if sys.platform == "darwin":
        user = Path.home() / "Library" / "Caches"
    else:
        user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return user / "nasjax" / f"compiled-{processor()}"


def processor() -> str:
    """Names this kind of processor by what it can do."""
    described = platform.machine() + platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        marks = ("model name", "flags", "Features")
        described += str(sorted({line for line in lines if line.startswith(marks)}))
    return hashlib.sha256(described.encode()).hexdigest()[:8]
