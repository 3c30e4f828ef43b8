"""Compiler options, parallel compilation, and the on-disk cache of programs."""

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
from nasjax.engine.signals import COMPILATION, doing

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
    """The `compiler_options` for jax.jit.

    On a CPU they choose XLA's quick preset: a supernet's steps compile in two thirds of
    the time and memory and run no slower (docs/performance.md). On a GPU they leave
    matrix products to the library, without autotuning, which would time each of the
    hundreds of shapes in the program of a step.

    Args:
      level: LLVM's optimisation level on a CPU, 0 to 3; None: XLA's default. Ignored if
        JAX is set to disable most optimisations.
      platform: platform to compile for; None: JAX's default.
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
    except jax.errors.JaxRuntimeError:  # this XLA lacks an option
        return {}
    return options


def side_by_side(
    lower: Mapping[str, Callable[[], Any]],
    options: Mapping[str, str | bool] | None = None,
) -> dict[str, Any]:
    """Compiles programs in parallel.

    Args:
      lower: name -> a function that traces and lowers, as `jitted.lower` does. These
        are called one after the other; XLA compiles in parallel, without the GIL.
      options: compiler options; None: `compiler_options()`.
    """
    if options is None:
        options = compiler_options()
    pool = ThreadPoolExecutor()
    try:
        with doing(COMPILATION):
            jobs = {
                name: pool.submit(make().compile, options)
                for name, make in lower.items()
            }
            compiled = {name: job.result() for name, job in jobs.items()}
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # Ctrl-C waits for none of them
    with contextlib.suppress(OSError, AttributeError, TypeError):  # glibc only
        ctypes.CDLL(None).malloc_trim(0)  # glibc would keep the GB that XLA freed
    return compiled


@contextlib.contextmanager
def compiled_programs(setting: str, by_jax: bool = True) -> Iterator[Path | None]:
    """Keeps programs that are compiled inside in a folder; yields the folder or None.

    With "auto", JAX's own setting (JAX_COMPILATION_CACHE_DIR) takes precedence: if it
    is set, nothing is done. All JAX settings are restored afterwards.

    Args:
      setting: "auto" for a folder of this user and this kind of machine, "off", or a
        folder.
      by_jax: True: JAX keeps the programs. False: the caller keeps them, with
        `nasjax.engine.programs`, and JAX keeps none, because on a CPU a program that
        JAX has loaded cannot be serialised again.

    Raises:
      UserError: the folder cannot be made.
    """
    if setting == "auto" and getattr(jax.config, _FOLDER):
        yield None
        return
    folder = None if setting == "off" else _folder(setting)
    ours = {
        _FOLDER: str(folder) if folder and by_jax else None,
        "jax_persistent_cache_min_compile_time_secs": 0.1,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        # Otherwise the traceback of each operation is half of the bytes written.
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
        if setting == "auto":  # home is not writable: compile every time
            return None
        raise UserError(
            f"The folder {setting!r} for compiled programs cannot be made ({error}); "
            "give another one with --config.compile_cache, or 'auto', or 'off'."
        ) from error
    return folder


def _set(values: dict) -> None:
    for name, value in values.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()  # JAX reads the folder setting once


def _default() -> Path:
    """A folder per kind of processor, because CPU programs use its instructions."""
    if sys.platform == "darwin":
        user = Path.home() / "Library" / "Caches"
    else:
        user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return user / "nasjax" / f"compiled-{processor()}"


def processor() -> str:
    """A name for this kind of processor, from its model and features."""
    described = platform.machine() + platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        marks = ("model name", "flags", "Features")
        described += str(sorted({line for line in lines if line.startswith(marks)}))
    return hashlib.sha256(described.encode()).hexdigest()[:8]
