"""Operations of the user: the adapter of flax modules on [B, H, W, C], and checks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from nasjax.core.errors import UserError
from nasjax.nets import lowering
from nasjax.nets.layers import Style
from nasjax.nets.operations import OPERATIONS, operation
from nasjax.spaces import CellPlan

_SHIPPED = frozenset(OPERATIONS.values())
_BATCH, _HEIGHT, _WIDTH = 3, 9, 6  # of the map in a check; different from each other
_ADAPTER = "nasjax.nets.nhwc(MODULE) adapts a flax module on [B, H, W, C]"


class Transposed(nn.Module):
    """A module on [B, H, W, C] as an operation on [H, C, W, B], see `nhwc`."""

    module: nn.Module

    def __call__(self, x: Array, train: bool) -> Array:
        named = inspect.signature(type(self.module).__call__).parameters
        given = {"train": train, "training": train, "deterministic": not train}
        given["use_running_average"] = not train
        options = {name: value for name, value in given.items() if name in named}
        y = self.module(jnp.transpose(x, (3, 0, 2, 1)), **options)
        return lowering.to_map(y)


def nhwc(module: nn.Module) -> nn.Module:
    """An operation that calls a flax module on [B, H, W, C], the layout of flax.

    Args:
      module: called with (x), and with `train`, `training`, `deterministic` or
        `use_running_average` if it has an argument of this name.

    >>> OPERATIONS["dense"] = lambda channels, stride, style: nhwc(
    ...     nn.Conv(channels, (3, 3), stride)
    ... )
    >>> del OPERATIONS["dense"]
    """
    return Transposed(module)


def check_operations(
    names: Iterable[str], plans: Iterable[CellPlan], style: Style
) -> None:
    """Refuses operations of the user that do not turn maps into maps.

    Args:
      names: operations.
      plans: the cells that they are used in.
      style: of the network.

    Raises:
      UserError: an operation is unknown, cannot be called, or returns something other
        than a map [H, C, W, B] of the right size.
    """
    style = style._replace(axis_name=None)  # no axis is mapped here
    own = [name for name in names if operation(name) not in _SHIPPED]
    for plan in plans:
        for name in own:
            for stride in (1, 2) if plan.type == "reduce" else (1,):
                _check(name, operation(name), plan.channels, stride, style)


@functools.cache
def _check(name: str, make: Callable, channels: int, stride: int, style: Style) -> None:
    where = f"The operation {name!r}, with {channels} channels and stride {stride},"
    try:
        module = make(channels, stride, style)
    except Exception as error:  # a program of the user
        raise _failed(f"{where} cannot be made", error) from error
    if not isinstance(module, nn.Module):
        raise UserError(
            f"{where} is a {type(module).__name__}; expected a flax module, made by "
            "(channels, stride, style)."
        )
    expected = (-(-_HEIGHT // stride), channels, -(-_WIDTH // stride), _BATCH)
    try:
        found, collections = _outputs(module, channels)
    except Exception as error:
        raise _failed(f"{where} fails", error) from error
    strange = sorted(collections - {"params", "batch_stats"})
    if strange:
        raise UserError(
            f"{where} has variables {', '.join(strange)}; expected no other than params "
            "and batch_stats."
        )
    for y in found:
        if not hasattr(y, "shape"):
            raise UserError(
                f"{where} returns a {type(y).__name__}; expected one map [H, C, W, B]."
            )
        if y.shape != expected:
            raise UserError(
                f"{where} turns a map of shape {_map(channels)} into {list(y.shape)}; "
                f"expected {list(expected)}: maps are [H, C, W, B], and stride s makes "
                f"sides of ceil(n / s). {_hint(module, channels, expected)}"
            )
        if not jnp.issubdtype(y.dtype, jnp.floating):
            raise UserError(
                f"{where} returns numbers of type {y.dtype}; expected floats."
            )


def _outputs(module: nn.Module, channels: int) -> tuple[list[Any], set[str]]:
    """The outputs in training and in evaluation, and the names of the collections."""
    x = jax.ShapeDtypeStruct(tuple(_map(channels)), jnp.float32)
    init = lambda x: module.init(jax.random.key(0), x, True)
    variables = nn.meta.unbox(jax.eval_shape(init, x))
    train = lambda v, x: module.apply(v, x, True, mutable=["batch_stats"])[0]
    still = lambda v, x: module.apply(v, x, False)
    return [jax.eval_shape(f, variables, x) for f in (train, still)], set(variables)


def _map(channels: int) -> list[int]:
    return [_HEIGHT, channels, _WIDTH, _BATCH]


def _hint(module: nn.Module, channels: int, expected: tuple[int, ...]) -> str:
    """The adapter, if it solves the problem or may do so."""
    try:
        found, _ = _outputs(nhwc(module.clone(parent=None, name=None)), channels)
        fits = all(y.shape == expected for y in found)
    except Exception:
        fits = False
    if fits:
        return "It is a module on [B, H, W, C]: return nasjax.nets.nhwc(MODULE)."
    return f"{_ADAPTER}."


def _failed(what: str, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [""])[0].rstrip(".")
    return UserError(
        f"{what} ({type(error).__name__}: {reason}); expected a flax module called with "
        f"a map [H, C, W, B] and train, without random numbers. {_ADAPTER}."
    )
