"""What can be wrong with settings and pytrees, said in a sentence."""

from __future__ import annotations

import math
import numbers
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
                "expected floating point: convert it, or keep it out of the search."
            )


def like(tree: Any, example: Any, name: str, expected: str) -> None:
    """Refuses a pytree of another structure or other shapes than the example's.

    Raises:
      ValueError: it differs.
    """
    given: Any = jax.tree.structure(tree)
    wanted: Any = jax.tree.structure(example)
    shapes = lambda each: jax.tree.map(jnp.shape, each)
    if given != wanted or not jax.tree.all(jax.tree.map(_same_shape, tree, example)):
        raise ValueError(
            f"{name} has the shapes {shapes(tree)}; expected those of {expected}, "
            f"{shapes(example)}."
        )


def count(value: Any, name: str) -> None:
    """Refuses anything but a whole number of at least 1.

    Raises:
      ValueError: it is something else.
    """
    if not isinstance(value, numbers.Integral) or value < 1:
        raise ValueError(f"{name} is {value!r}; expected a whole number, at least 1.")


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


def _same_shape(leaf: Any, other: Any) -> bool:
    return jnp.shape(leaf) == jnp.shape(other)
