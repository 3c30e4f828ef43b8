"""Whether an accelerator computes what a CPU does in double precision.

Every step starts from the same state and batches; what is compared is linear in the
gradient that it finds: momentum, the first moment of Adam, or alpha as ZARTS moves it.
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
from nasjax import parallel
from nasjax.compiling import side_by_side

FOUND = {  # where each step leaves what it found
    "weight_step": lambda state: state.weight_opt,
    "first_order": lambda state: state.arch_opt,
    "second_order": lambda state: state.arch_opt,
    "mgs": lambda state: state.arch,
    "sanas": lambda state: state.arch_opt,
    "second_network": lambda state: state.second.opt,
}
WAYS = (("conv", "jit"), ("shift", "jit"), ("conv", "pmap"), ("shift", "pmap"))
DRY = ("weight_step", "second_order")
TOLERANCE = 1e-4


def correct(record: Record) -> None:
    """Error of every step, in both spellings, under jit and pmap."""
    dry = record.plan.dry
    steps, ways = (DRY, WAYS[:1]) if dry else (tuple(FOUND), WAYS)
    settings = sizes.SMALLEST if dry else sizes.SMALL
    net = sizes.smallest() if dry else sizes.small()
    record.keep(settings=settings, operations=net["space"].primitives)
    ours = Ours(SimpleNamespace(**settings | {"lowering": "shift"}), **net)
    given = {name: (start(ours, name), ours.batches[name]) for name in steps}
    expected = reference(ours, given)
    errors: dict[str, dict[str, float]] = {}
    for spelling, mode in ways:
        if record.left < 0:
            record.keep(f"no time for {spelling} under {mode}")
            continue
        axis = parallel.axis_name(mode)
        ours = Ours(
            SimpleNamespace(**settings | {"lowering": spelling}), **net, axis=axis
        )
        with jax.default_matmul_precision("highest"):
            found = outcomes(ours, given, jax.devices()[:1], mode)
        own = {name: error(found[name], expected[name]) for name in steps}
        errors[f"{spelling}, {mode}"] = own
        worst = max(own, key=own.__getitem__)
        line = f"{spelling} under {mode}: {own[worst]:.1e} at most, of {worst}"
        record.keep(line, errors=errors)
    largest = max(max(own.values()) for own in errors.values())
    record.goal("largest relative error of a gradient", largest, TOLERANCE)


def reference(ours: Ours, given: dict[str, tuple]) -> dict[str, Any]:
    """What the steps find on the CPU in float64."""
    with jax.enable_x64(True), drawn_narrow():
        wide = jax.tree.map(_wide, given)
        return outcomes(ours, wide, jax.devices("cpu")[:1], "jit")


def outcomes(
    ours: Ours, given: dict[str, tuple], where: list[jax.Device], mode: str
) -> dict[str, Any]:
    """What steps find on these devices, as arrays of numpy.

    given: name -> (state, batches), left as they are.
    """
    copies = {
        name: parallel.replicate(jax.tree.map(jnp.copy, at), where)
        for name, at in given.items()
    }
    lower = {}
    for name, at in copies.items():
        step = parallel.data_parallel(
            ours.steps[name], lambda data, state: data, ours.axes[name], where, mode
        )
        lower[name] = functools.partial(step.lower, *at)
    compiled = side_by_side(lower)
    return {
        name: jax.device_get(FOUND[name](compiled[name](*at)[0]))
        for name, at in copies.items()
    }


def start(ours: Ours, name: str) -> Any:
    """The state before a step."""
    return jax.jit(ours.inits[name])(jax.random.key(0))


def error(found: Any, expected: Any) -> float:
    """The largest relative error of an array; of one that is next to nothing beside
    the others, relative to a thousandth of all.

    >>> error([np.array([3.0, 4.0])], [np.array([3.0, 5.0])]) * 34**0.5
    1.0
    """
    norm = lambda x: float(np.linalg.norm(np.asarray(x, np.float64)))
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True))
    whole = sum(norm(b) ** 2 for _, b in pairs) ** 0.5
    return float(np.max([norm(a - b) / max(norm(b), 1e-3 * whole) for a, b in pairs]))


@contextlib.contextmanager
def drawn_narrow() -> Iterator[None]:
    """Random numbers are drawn in float32: in float64 they would be others."""

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
    return leaf.astype(jnp.float64) if inexact else leaf
