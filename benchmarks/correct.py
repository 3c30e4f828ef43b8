"""Errors of an accelerator, against a CPU in double precision.

Every step starts from the same state and batches. The compared arrays are linear in the
gradient of the step: momentum, the first moment of Adam, or alpha as ZARTS moves it.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import sizes
from benchmarks.ours import Ours
from benchmarks.record import Record
from nasjax.engine.compiling import compiler_options, side_by_side
from nasjax.engine.devices import Devices

FOUND = {  # result of each step in its state; in the order of compilation
    "weight_step": lambda state: state.weight_opt,
    "first_order": lambda state: state.arch_opt,
    "mgs": lambda state: state.arch,
    "second_order": lambda state: state.arch_opt,
    "second_network": lambda state: state.levels["w2"].opt,
    "sanas": lambda state: state.arch_opt,
}
WAYS = (("conv", "jit"), ("shift", "jit"), ("conv", "pmap"), ("shift", "pmap"))
DRY = ("weight_step", "second_order")
TOLERANCE = 1e-4


def correct(record: Record) -> None:
    """Measures the error of every step, in both spellings, under jit and pmap."""
    dry = record.plan.dry
    settings = sizes.SMALLEST if dry else sizes.SMALL
    net = sizes.smallest() if dry else sizes.small()
    record.keep(settings=settings, operations=net["space"].primitives)

    def made(spelling: str, mode: str) -> Ours:
        own = SimpleNamespace(**settings | {"lowering": spelling})
        return Ours(own, **net, mode=mode)

    sides = {way: made(*way) for way in WAYS}
    ours = sides["shift", "jit"]
    errors: dict[str, dict[str, float]] = {}
    for name in DRY if dry else FOUND:
        if record.left < 0:
            record.keep(f"no time for {name}")
            continue
        given = start(ours, name), ours.batches[name]
        expected = reference(ours, name, given)
        ways = WAYS[: 1 if dry and errors else None]
        found = outcomes({way: sides[way] for way in ways}, name, given)
        own = {", ".join(way): error(found[way], expected) for way in ways}
        errors[name] = own
        worst = max(own, key=own.__getitem__)
        record.keep(f"{name}: {own[worst]:.1e} at most, {worst}", errors=errors)
    if errors:
        largest = max(max(own.values()) for own in errors.values())
        record.goal("largest relative error of a gradient", largest, TOLERANCE)


def reference(ours: Ours, name: str, given: tuple) -> Any:
    """The result of a step on the CPU in float64."""
    devices = Devices(tuple(jax.devices("cpu")[:1]))
    with jax.enable_x64(True), drawn_narrow():
        wide = devices.replicate(jax.tree.map(_wide, given))
        lower = {name: functools.partial(_step(ours, name, devices).lower, *wide)}
        compiled = side_by_side(lower, compiler_options(platform="cpu"))
        return jax.device_get(FOUND[name](compiled[name](*wide)[0]))


def outcomes(sides: dict[tuple[str, str], Ours], name: str, given: tuple) -> dict:
    """The result of a step in each way on this device, as arrays of numpy.

    Args:
      sides: way -> programs of the side.
      name: name of the step.
      given: (state, batches), which are not changed.
    """
    devices = {way: Devices.of(1, way[1]) for way in sides}
    copies = {
        way: own.replicate(jax.tree.map(jnp.copy, given))
        for way, own in devices.items()
    }
    with jax.default_matmul_precision("highest"):
        compiled = side_by_side(
            {
                way: functools.partial(
                    _step(ours, name, devices[way]).lower, *copies[way]
                )
                for way, ours in sides.items()
            }
        )
    return {
        way: jax.device_get(FOUND[name](program(*copies[way])[0]))
        for way, program in compiled.items()
    }


def _step(ours: Ours, name: str, devices: Devices) -> Callable:
    return devices.step(ours.steps[name], lambda data, state: data, ours.axes[name])


def start(ours: Ours, name: str) -> Any:
    """The state before a step."""
    return jax.jit(ours.inits[name])(jax.random.key(0))


def error(found: Any, expected: Any) -> float:
    """The largest relative error of an array.

    If the norm of an array is below a thousandth of the norm of all arrays, its error
    is relative to that thousandth.

    >>> round(error([np.array([3.0, 4.0])], [np.array([3.0, 5.0])]) * 34**0.5, 9)
    1.0
    """
    norm = lambda x: float(np.linalg.norm(np.asarray(x, np.float64)))
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True))
    whole = sum(norm(b) ** 2 for _, b in pairs) ** 0.5
    return float(np.max([norm(a - b) / max(norm(b), 1e-3 * whole) for a, b in pairs]))


@contextlib.contextmanager
def drawn_narrow() -> Iterator[None]:
    """Draws random numbers in float32: in float64 they would differ."""

    def narrow(draw: Callable) -> Callable:
        def drawn(key, shape=(), dtype=float, *rest, **more):
            return draw(key, shape, jnp.float32, *rest, **more).astype(dtype)

        return drawn

    with contextlib.ExitStack() as stack:
        for name in ("normal", "uniform"):
            patched = narrow(getattr(jax.random, name))
            stack.enter_context(mock.patch.object(jax.random, name, patched))
        yield


def _wide(leaf: Any) -> Any:
    inexact = jnp.issubdtype(leaf.dtype, jnp.floating)
    return leaf.astype(jnp.float64) if inexact else jnp.copy(leaf)
