"""Optimisers, which are anything with optax's init and update: checks and one step."""

from __future__ import annotations

import inspect
import re
from typing import Any

import jax
import jax.numpy as jnp

from nasjax.core import arguments

WRONG = (TypeError, ValueError, AttributeError, LookupError)


def pair(optimizer: Any, name: str = "optimizer") -> None:
    """Refuses anything without the methods init and update.

    Raises:
      TypeError: a method is missing.
    """
    methods = (getattr(optimizer, method, None) for method in ("init", "update"))
    if inspect.isclass(optimizer) or not all(map(callable, methods)):
        hint = "optax.sgd(0.1), for example"
        if callable(optimizer):
            hint = (
                "call a function that makes one, as in optax.sgd(0.1), and give a "
                "schedule instead of its rate"
            )
        raise TypeError(
            f"{name} is {arguments.described(optimizer)}; expected an optimiser with "
            f"init(w) and update(gradient, state, w): {hint}."
        )


def live(optimizer, w, opt_state, key: str = ""):
    """opt_state, checked to be a state of the optimiser for w; a fresh one for None.

    Raises:
      TypeError: a leaf of opt_state has another type of number.
      ValueError: opt_state has another structure or another shape, or init fails.
    """
    try:
        if opt_state is None:
            return optimizer.init(w)
        fresh = jax.eval_shape(optimizer.init, w)
    except WRONG as error:
        raise ValueError(
            f"optimizer.init fails on w{key}: {_first_line(error)}; expected an "
            "optimiser whose init takes w alone."
        ) from error
    arguments.like(opt_state, fresh, f"opt_state{key}", f"optimizer.init(w{key})")
    arguments.arrays(opt_state, f"opt_state{key}")
    _same_types(opt_state, fresh, f"opt_state{key}", f"optimizer.init(w{key})")
    return opt_state


def step(optimizer, slope, state, w):
    """(w after one step, the state after it), in the types of w and the state.

    Raises:
      ValueError: update fails, or returns a pytree that is not like w.
    """
    try:
        updates, after = optimizer.update(slope, state, w)
    except WRONG as error:
        wanted = re.search(r"required keyword-only arguments?: (.*)", str(error))
        if wanted:
            cause = f"needs {wanted[1]}, which a step on a gradient does not have"
        else:
            cause = f"fails on a gradient like w: {_first_line(error)}"
        raise ValueError(
            f"optimizer.update {cause}; expected update(gradient, state, w) to be "
            "enough: use another optimiser, or write the step as the update of a "
            "hypergrad.Level for hypergrad.chain."
        ) from error
    arguments.like(updates, w, "the update returned by the optimiser", "w")
    return jax.tree.map(_moved, w, updates), after


def carried(optimizer, slope, state, w):
    """As `step`, for a loop: the state must keep its structure, shapes and types.

    Raises:
      TypeError, ValueError: it does not.
    """
    w, after = step(optimizer, slope, state, w)
    names = "the state returned by optimizer.update", "the state before it"
    arguments.like(after, state, *names)
    _same_types(after, state, *names)
    return w, after


def _same_types(tree, example, name: str, expected: str) -> None:
    both = zip(
        jax.tree_util.tree_leaves_with_path(tree),
        jax.tree.leaves(example),
        strict=True,
    )
    for (path, leaf), other in both:
        have, want = jnp.result_type(leaf), jnp.result_type(other)
        if have != want:
            raise TypeError(
                f"{name}{jax.tree_util.keystr(path)} is {have}; expected {want}, as in "
                f"{expected}."
            )


def _moved(p, update):
    """p + update, in p's type."""
    return jnp.asarray(p + update, p.dtype)


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}".rstrip(".: ")
