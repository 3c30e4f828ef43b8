"""What can be wrong with losses, settings and pytrees, said in a sentence.

For the libraries that need jax alone; what is traced is checked while it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def floating(tree: Any, name: str) -> None:
    """Refuses leaves that cannot move by a real number.

    Raises:
      TypeError: a leaf is not real floating point.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise TypeError(
                f"{name}{jax.tree_util.keystr(path)} is {jnp.result_type(leaf)}; "
                "expected floating point: convert it, or let it travel in the batch."
            )


def scalar(loss: Callable, name: str) -> Callable:
    """The loss, refusing to return anything but a real scalar.

    Raises:
      TypeError: when called, it returned something else.
    """

    def checked(*arguments):
        value = loss(*arguments)
        if not jax.tree_util.all_leaves([value]):
            what = "None" if value is None else f"a {type(value).__name__}"
            raise TypeError(
                f"{name} returned {what}; expected the scalar alone: "
                "auxiliary results have no place in a hypergradient."
            )
        shape, dtype = jnp.shape(value), jnp.result_type(value)
        if shape or not jnp.issubdtype(dtype, jnp.floating):
            raise TypeError(
                f"{name} returned {dtype}{list(shape)}; expected a floating-point "
                "scalar: take the mean or the sum."
            )
        return value

    return checked


def like(tree: Any, example: Any, name: str, expected: str) -> None:
    """Refuses a pytree of another structure or other shapes than the example's.

    Raises:
      ValueError: it differs; the first difference is named.
    """
    given: Any = jax.tree.structure(tree)
    wanted: Any = jax.tree.structure(example)
    if given != wanted:
        raise ValueError(
            f"{name} has the structure {_short(given)}; expected that of {expected}, "
            f"{_short(wanted)}{_first_difference(tree, example)}."
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
    """Where the leaves first differ in words; empty if only the containers do."""
    have, want = (
        [jax.tree_util.keystr(path) for path, _ in pairs]
        for pairs in map(jax.tree_util.tree_leaves_with_path, (tree, example))
    )
    odd = [path for path in (*have, *want) if (path in have) != (path in want)]
    return f"; they differ at {odd[0]}" if odd and odd[0] else ""


def leading(batch: Any, steps: int) -> None:
    """Refuses batches that do not hold one batch a step.

    Raises:
      ValueError: a leaf does not lead with an axis of `steps`.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        shape = jnp.shape(leaf)
        if not shape or shape[0] != steps:
            raise ValueError(
                f"train_batch{jax.tree_util.keystr(path)} has shape {shape}; with "
                f"steps = {steps} every leaf of train_batch must lead with an axis of "
                f"{steps}, one batch for each step."
            )


def count(value: Any, name: str) -> None:
    """Refuses what is not a whole number of at least 1.

    Raises:
      ValueError: it is not.
    """
    if not hasattr(value, "__index__") or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1.")


def number(value: Any, name: str, least: float, above: bool = False) -> None:
    """Refuses a Python number that is too small; arrays pass, they may be traced.

    Raises:
      ValueError: it is below `least`, or equal to it where it must be above.
    """
    if isinstance(value, int | float) and (value < least or (above and value == least)):
        bound = "above" if above else "at least"
        raise ValueError(f"{name} is {value!r}; expected a number {bound} {least}.")


def positive(value: Any, name: str) -> None:
    """Refuses a Python number that is not above 0; schedules and arrays pass.

    Raises:
      ValueError: it is 0, negative, infinite or nan.
    """
    if isinstance(value, int | float) and not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}; expected a finite number above 0.")


def choice(value: Any, name: str, *allowed: str) -> None:
    """Refuses a word that means nothing here.

    Raises:
      ValueError: it is none of those allowed.
    """
    if value not in allowed:
        words = " or ".join(map(repr, allowed))
        raise ValueError(f"{name} is {value!r}; expected {words}.")
