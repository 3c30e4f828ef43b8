"""Checks of losses, settings and pytrees; a failed check raises one sentence.

The packages that depend on jax alone use these checks. Traced values are checked while
they are traced.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def floating(tree: Any, name: str) -> None:
    """Refuses leaves that are not real floating point.

    Raises:
      TypeError: a leaf is not real floating point.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        where = f"{name}{jax.tree_util.keystr(path)}"
        dtype = _dtype(leaf, where)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"{where} is {dtype}; "
                "expected floating point: convert it, or put it in the batch."
            )


def arrays(tree: Any, name: str) -> None:
    """Refuses leaves that are neither arrays nor numbers. None has no leaves.

    Raises:
      TypeError: a leaf is a function, a text or another object.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        _dtype(leaf, f"{name}{jax.tree_util.keystr(path)}")


def _dtype(leaf: Any, where: str) -> Any:
    if isinstance(leaf, bool | int | float | complex) or hasattr(leaf, "dtype"):
        try:
            return jnp.result_type(leaf)
        except TypeError:  # NumPy's texts, objects and dates
            pass
    elif hasattr(leaf, "__jax_array__"):
        return jnp.result_type(leaf)
    raise TypeError(
        f"{where} is {described(leaf)}; expected an array or a number: leave it out, "
        "and let the loss close over it."
    )


def described(value: Any) -> str:
    """A few words for a value that is not what was expected.

    >>> described("adam"), described(len), described({}), described(None)
    ("the text 'adam'", 'the function len', 'a dict', 'None')
    """
    if value is None:
        return "None"
    if isinstance(value, str):
        return f"the text {value!r:.60}"
    if inspect.isclass(value):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {value.__name__}"
    kind = type(value).__name__
    dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""
    return f"{'an' if kind[0] in 'aeiouAEIOU' else 'a'} {kind}{dtype}"


def function(value: Any, name: str, form: str) -> None:
    """Refuses anything that cannot be called.

    Raises:
      TypeError: value is not a function.
    """
    if not callable(value):
        raise TypeError(f"{name} is {described(value)}; expected a function {form}.")


def scalar(loss: Callable, name: str) -> Callable:
    """The loss, wrapped to raise unless it returns a real scalar.

    Raises:
      TypeError: loss is not a function, or, when called, returned something else.
    """
    function(loss, name, "that returns a scalar")

    def checked(*arguments):
        value = loss(*arguments)
        if not jax.tree_util.all_leaves([value]):
            raise TypeError(
                f"{name} returned {described(value)}; expected the scalar alone: "
                "do not return auxiliary results."
            )
        shape, dtype = jnp.shape(value), _dtype(value, f"The value of {name}")
        if shape or not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"{name} returned {dtype}{list(shape)}; expected a floating-point "
                "scalar: take the mean or the sum."
            )
        return value

    return checked


def like(tree: Any, example: Any, name: str, expected: str) -> None:
    """Refuses a pytree whose structure or shapes differ from the example's.

    Raises:
      ValueError: the pytrees differ; the message names the first difference.
    """
    given: Any = jax.tree.structure(tree)
    wanted: Any = jax.tree.structure(example)
    if given != wanted:
        raise ValueError(
            f"{name} has the structure {_short(given)}; expected the structure of "
            f"{expected}, {_short(wanted)}{_first_difference(tree, example)}."
        )
    both = zip(
        jax.tree_util.tree_leaves_with_path(tree),
        jax.tree.leaves(example),
        strict=True,
    )
    for (path, leaf), other in both:
        if jnp.shape(leaf) != jnp.shape(other):
            raise ValueError(
                f"{name}{jax.tree_util.keystr(path)} has shape {jnp.shape(leaf)}; "
                f"expected {jnp.shape(other)}, as in {expected}."
            )


def _short(structure: Any, length: int = 200) -> str:
    text = str(structure)
    return text if len(text) <= length else text[:length] + "..."


def _first_difference(tree: Any, example: Any) -> str:
    """A clause with the first leaf that differs; empty if only containers differ."""
    have, want = (
        [jax.tree_util.keystr(path) for path, _ in pairs]
        for pairs in map(jax.tree_util.tree_leaves_with_path, (tree, example))
    )
    odd = [path for path in (*have, *want) if (path in have) != (path in want)]
    return f"; they differ at {odd[0]}" if odd and odd[0] else ""


def leading(batch: Any, steps: int) -> None:
    """Refuses a train_batch that does not hold one batch per step.

    Raises:
      ValueError: a leaf has no leading axis of length `steps`.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        shape = jnp.shape(leaf)
        if not shape or shape[0] != steps:
            raise ValueError(
                f"train_batch{jax.tree_util.keystr(path)} has shape {shape}; with "
                f"steps = {steps} every leaf of train_batch must have a leading axis "
                f"of length {steps}, one batch for each step."
            )


def count(value: Any, name: str) -> None:
    """Refuses anything but a positive integer.

    Raises:
      ValueError: value is not a positive integer.
    """
    if not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a positive integer.")


def number(value: Any, name: str, least: float, above: bool = False) -> None:
    """Refuses a Python number that is too small. Arrays pass: they may be traced.

    Raises:
      ValueError: value is below `least`, or equal to `least` where `above` is True.
    """
    if isinstance(value, int | float) and (value < least or (above and value == least)):
        bound = "above" if above else "at least"
        raise ValueError(f"{name} is {value!r}; expected a number {bound} {least}.")


def positive(value: Any, name: str) -> None:
    """Refuses a Python number that is not positive. Schedules and arrays pass.

    Raises:
      ValueError: value is 0, negative, infinite or nan.
    """
    if isinstance(value, int | float) and not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; expected a finite number above 0.")


def choice(value: Any, name: str, *allowed: str) -> None:
    """Refuses a value that is not one of `allowed`.

    Raises:
      ValueError: value is not one of `allowed`.
    """
    if value not in allowed:
        words = " or ".join(map(repr, allowed))
        raise ValueError(f"{name} is {value!r}; expected {words}.")
