"""Sentences on why an estimator's result is not finite, zero, or not the derivative.

`check` asks the estimator's `Diagnosis`, which evaluates the parts of the computation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.hypergrad import optimizers

NO_ROOT = (
    "use an optimiser without a root or a norm, such as optax.sgd with momentum, and "
    "optax.clip instead of clip_by_global_norm"
)
# Starts of the names of optax's states whose optimisers have an eps_root.
ROOTS = tuple(f"ScaleBy{kind}" for kind in ("Adam", "Amsgrad", "Ademamix", "Belief"))
TWICE = "a norm, a root or a power below 2 at 0"


class Diagnosis:
    """The parts of an estimator. Every method returns sentences, none if it is fine.

    `at` is (w, arch, train_batch, val_batch, opt_state).
    """

    def not_finite(self, at: tuple) -> list[str]:
        del at
        return []

    def zero(self, at: tuple) -> list[str]:
        del at
        return []

    def biased(self, at: tuple, error: float) -> list[str]:
        """Sentences for a relative error of the result, nan if it is not known."""
        del at, error
        return []


class Step(NamedTuple):
    """One optimiser step: the gradient of `loss` at w and the live state."""

    name: str
    loss: str
    optimizer: Any
    slope: Any
    state: Any
    w: Any


class Walk(Diagnosis):
    """Optimiser steps, one after the other, and the gradient at their end.

    Args:
      steps: at -> iterable of `Step`; the optimizer of the last one is None.
    """

    def __init__(self, steps: Callable[..., Iterable[Step]]):
        self.steps = steps

    def not_finite(self, at):
        for step in self.steps(*at):
            if not finite(step.slope):
                where = f" at {step.name}" if step.name else ""
                return [f"The gradient of {step.loss} is not finite{where}."]
            cause = step.optimizer and _not_finite(step)
            if cause:
                return [
                    f"The losses' gradients are finite up to {step.name}; the "
                    f"optimiser's {cause}"
                ]
        return [
            "The losses' gradients and the optimiser's derivative are finite, so a "
            f"second derivative of a training loss is not: {TWICE}."
        ]

    def zero(self, at):
        flat = "a sign, a threshold, or a step that only accumulates"
        return [
            f"The hypergradient is zero because the optimiser's update at {step.name} "
            f"does not change with the gradient ({flat}); use another optimiser."
            for step in self.steps(*at)
            if step.optimizer
            and size(step.slope) > 0
            and size(_pulled(step)[1][0]) == 0
        ][:1]


def _pulled(step: Step) -> tuple:
    """(w after the step, the cotangents of gradient, state and w for ones)."""
    run = lambda *at: optimizers.step(step.optimizer, *at)
    after, pull = jax.vjp(run, step.slope, step.state, step.w)
    if size(after[0]) == math.inf or not finite(after[0]):
        return after[0], ()
    zero = lambda a: np.zeros(jnp.shape(a), jax.dtypes.float0)
    none = jax.tree.map(
        lambda a: jnp.zeros_like(a) if _smooth(a) else zero(a), after[1]
    )
    ones = jax.tree.map(jnp.ones_like, after[0])
    return after[0], pull((ones, none))


def _not_finite(step: Step) -> str:
    after, pulled = _pulled(step)
    if not pulled:
        path, still = _first(after, step.slope)
        also = ", where the gradient is exactly 0 (is its eps 0?)" if still else ""
        return f"update is not finite at w{path}{also}."
    if finite(pulled):
        return ""
    path, still = _first(pulled[0], step.slope)
    kind = _kind(step.state, pulled[1])
    text = f"derivative is not{kind and f', in its {kind}'}: at w{path} "
    text += "the gradient is exactly 0, where" if still else "it meets a point where"
    text += " a root or a norm has no finite derivative; "
    if kind.startswith(ROOTS):
        text += "set eps_root above 0, as in optax.adam(rate, eps_root=1e-12), or "
    return text + NO_ROOT + "."


def _first(tree, slope) -> tuple[str, bool]:
    """(path of the first entry that is not finite, True if its gradient is 0)."""
    both = zip(
        jax.tree_util.tree_leaves_with_path(tree), jax.tree.leaves(slope), strict=True
    )
    for (path, leaf), own in both:
        bad = np.argwhere(~np.isfinite(np.asarray(leaf, np.float64)))
        if len(bad):
            at = tuple(map(int, bad[0]))
            entry = f"[{', '.join(map(str, at))}]" if at else ""
            return jax.tree_util.keystr(path) + entry, bool(np.asarray(own)[at] == 0)
    return "", False


def _kind(state, cotangents) -> str:
    """Name of the innermost named tuple in the state with a cotangent that is not finite."""
    found = ""
    if hasattr(state, "_fields") and not finite(cotangents):
        found = type(state).__name__
    if isinstance(state, tuple | list):
        inner: Iterable = zip(state, cotangents, strict=True)
    elif isinstance(state, dict):
        inner = [(value, cotangents[name]) for name, value in state.items()]
    else:
        inner = ()
    return next(filter(None, (_kind(*pair) for pair in inner)), found)


def _smooth(a) -> bool:
    return jnp.issubdtype(jnp.result_type(a), jnp.floating)


def finite(tree) -> bool:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if _smooth(leaf)]
    return all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in leaves)


def size(tree) -> float:
    """The norm."""
    return math.sqrt(
        sum(float(jnp.sum(jnp.square(jnp.asarray(a)))) for a in jax.tree.leaves(tree))
    )
