"""Compares a hypergradient with central differences and reports the result in words."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from nasjax.core import arguments
from nasjax.hypergrad.diagnosis import Diagnosis, finite, size
from nasjax.hypergrad.estimators import Estimator, accepted

STEPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
FLAT = 1e-2  # largest relative distance of two neighbouring differences on a plateau
LOSS = "a loss is not differentiable, once or twice"
AT_OPTIMUM = 1e-3  # an inner problem is solved if solving it again moves w by less


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of `check`; print it.

    Attributes:
      estimator: name of the estimator.
      agrees: True if the hypergradient is the derivative of its objective.
      error: relative distance from the hypergradient to the differences on the plateau;
        nan without a plateau.
      step: step of the plateau; None without a plateau.
      spread: relative distance between the two neighbouring differences of the plateau.
      steps: the steps tried.
      errors: relative distance from the hypergradient to the differences at each step.
      remarks: sentences about what is wrong and the likely cause.
    """

    estimator: str
    agrees: bool
    error: float
    step: float | None
    spread: float
    steps: tuple[float, ...]
    errors: tuple[float, ...]
    remarks: tuple[str, ...]

    def __str__(self) -> str:
        verdict = "agrees" if self.agrees else "DOES NOT AGREE"
        lines = [f"{self.estimator} {verdict} with central differences"]
        if self.step is not None:
            lines[0] += f": relative error {self.error:.1e} at a step of {self.step:g}"
        tried = zip(self.steps, self.errors, strict=True)
        lines += [f"  step {step:g}: {error:.1e}" for step, error in tried]
        return "\n".join([*lines, *self.remarks])


def check(
    estimator: Estimator,
    w,
    arch,
    train_batch,
    val_batch,
    opt_state=None,
    solve: Callable | None = None,
    *,
    directions: int = 3,
    steps: Sequence[float] = STEPS,
    key: jax.Array | None = None,
) -> Report:
    """Compares a hypergradient with central differences of its objective.

    The differences are taken along random directions of unit norm, at several steps.
    They are accurate where two neighbouring steps agree (the plateau): a larger step
    crosses kinks of ReLU and max pooling, a smaller step loses digits to cancellation.
    A supernet has a plateau in float64 only.

    Args:
      estimator: the estimator to check; called with the next five arguments.
      solve: (w, arch, train_batch) -> w*(arch); the objective is then taken at w*.
        Required if the estimator claims the derivative at the solved inner problem, as
        `implicit` does. For another estimator, the error then measures its distance
        from the total derivative.
      directions: number of directions.
      steps: the steps from the largest to the smallest.
      key: key of the random directions; None for `jax.random.key(0)`.

    Raises:
      ValueError: the estimator claims a derivative at w*(arch) and solve is None; there
        are fewer than two steps.
      TypeError: the estimator has no `.objective`; a leaf of w, arch or a batch is not
        an array.

    >>> from nasjax.hypergrad import first_order
    >>> report = check(first_order(lambda w, a, x: w * a**2), 2.0, 3.0, None, None)
    >>> report.agrees
    True
    """
    if not hasattr(estimator, "objective"):
        raise TypeError(
            f"{type(estimator).__name__} has no objective to compare with; expected an "
            "Estimator, such as unrolled(train_loss, val_loss, optimizer)."
        )
    if estimator.solved and solve is None:
        raise ValueError(
            f"{estimator.name} claims a derivative at the solution of the inner "
            "problem; give solve=(w, arch, train_batch) -> w*(arch)."
        )
    if len(steps) < 2:
        raise ValueError(f"steps is {steps}; expected at least two, to compare them.")
    accepted(w, arch, train_batch, val_batch)
    # A Python number would take the type of the direction that is added to it.
    arch = jax.tree.map(lambda a: jnp.asarray(a, jnp.result_type(a)), arch)
    given = w, arch, train_batch, val_batch, opt_state
    found = jax.jit(estimator)(*given)
    try:
        arguments.like(found.grad, arch, "The hypergradient", "arch")
    except ValueError as misshaped:
        return _refused(estimator, [str(misshaped)])
    evaluate = jax.jit(estimator.objective)

    def objective(arch) -> float:
        at = w if solve is None else solve(w, arch, train_batch)
        return float(evaluate(at, arch, train_batch, val_batch, opt_state))

    diagnosis = estimator.diagnosis or Diagnosis()
    remarks = _broken(found, estimator, diagnosis, given)
    if solve is not None:
        remarks += _unsolved(w, solve(w, arch, train_batch))
    if not finite((found.value, found.grad)):
        return _refused(estimator, remarks)

    measured: list[list[float]] = [[] for _ in steps]
    exact = []
    keys = jax.random.split(jax.random.key(0) if key is None else key, directions)
    for direction in (_direction(k, arch) for k in keys):
        exact.append(_dot(found.grad, direction))
        for row, step in zip(measured, steps, strict=True):
            ahead, behind = (
                objective(jax.tree.map(lambda a, d, s=s: a + s * d, arch, direction))
                for s in (step, -step)
            )
            row.append((ahead - behind) / (2 * step))
    errors = tuple(_distance(row, exact) for row in measured)
    eps = float(jnp.finfo(jnp.result_type(found.value)).eps)
    spreads = _spreads(measured, exact, steps, eps * abs(float(found.value)))
    best = min(range(len(spreads)), key=spreads.__getitem__)
    spread, rounding = spreads[best], math.sqrt(eps)
    if not spread <= FLAT:
        remarks += [*diagnosis.biased(given, math.nan), _no_plateau(spread, rounding)]
        remarks = list(dict.fromkeys(remarks))
        return Report(
            estimator.name, False, math.nan, None, spread, tuple(steps), errors,
            tuple(remarks),
        )  # fmt: skip
    error = errors[best]
    agrees = error <= max(rounding, 10 * spread)
    if not agrees:
        remarks = list(dict.fromkeys([*remarks, *diagnosis.biased(given, error)]))
    if not agrees and not remarks:
        remarks.append(
            "The estimator is biased here, or it does not differentiate its "
            "objective (a stop_gradient, or a draw that is not keyed by the batch)."
        )
    return Report(
        estimator.name, agrees, error, steps[best], spread, tuple(steps), errors,
        tuple(remarks),
    )  # fmt: skip


def _refused(estimator: Estimator, remarks: list[str]) -> Report:
    nan = math.nan
    return Report(estimator.name, False, nan, None, nan, (), (), tuple(remarks))


def _no_plateau(spread: float, rounding: float) -> str:
    closest = f"only to {spread:.1%}" if spread < 1 else "not even to 100 %"
    text = (
        "There is no plateau: no two neighbouring steps agree to 1 % (the closest pair "
        f"{closest}), so the differences cannot be used."
    )
    if rounding > 1e-6:
        return text + (
            " The loss is in single precision or less; check in float64: run with "
            "JAX_ENABLE_X64=1, or within `with jax.enable_x64(True):`, and make w, arch "
            "and the batches float64."
        )
    return text + " Kinks may be too dense, or the loss draws new numbers each time."


def _broken(
    found, estimator: Estimator, diagnosis: Diagnosis, given: tuple
) -> list[str]:
    """Sentences about a hypergradient that is zero or not finite."""
    if not finite(found.value):
        text = f"The validation loss is {float(found.value)}"
        causes = diagnosis.not_finite(given)
        return [f"{text}.", *causes] if causes else [f"{text}: check the loss first."]
    if not finite(found.grad):
        where = next(
            jax.tree_util.keystr(path) or "arch"
            for path, leaf in jax.tree_util.tree_leaves_with_path(found.grad)
            if not finite(leaf)
        )
        text = f"The hypergradient is not finite at {where}"
        causes = diagnosis.not_finite(given)
        return [f"{text}.", *causes] if causes else [f"{text}: {LOSS}."]
    of_w = size(jax.jit(jax.grad(estimator.objective))(*given))
    zero = size(found.grad) == 0
    if of_w == 0:
        direct = "is zero" if zero else "is the direct gradient alone"
        return [
            f"The validation loss does not depend on w, so the hypergradient {direct}; "
            "do its weights come from w, and not from a constant or a stop_gradient?"
        ]
    if zero:
        return diagnosis.zero(given) or [
            "The hypergradient is zero: neither loss seems to depend on arch here; is "
            "there a stop_gradient, a rounding or an argmax between arch and the loss?"
        ]
    return []


def _unsolved(w, solution) -> list[str]:
    arguments.like(solution, w, "The value returned by solve", "w")
    moved = size(jax.tree.map(jnp.subtract, solution, w))
    relative = moved / max(size(w), 1e-30)
    if relative <= AT_OPTIMUM:
        return []
    return [
        f"The inner problem is not at its optimum: solving it moves w by {relative:.1%} "
        "of its norm; pass the w that solve returns."
    ]


def _direction(key: jax.Array, arch) -> Any:
    """A random pytree like arch, of norm 1."""
    leaves, structure = jax.tree.flatten(arch)
    keys = jax.random.split(key, len(leaves))
    draws = [
        jax.random.normal(k, jnp.shape(a), jnp.result_type(a, jnp.float32))
        for k, a in zip(keys, leaves, strict=True)
    ]
    norm = size(draws)
    return jax.tree.unflatten(structure, [draw / norm for draw in draws])


def _dot(x, y) -> float:
    pairs = zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True)
    return sum(float(jnp.sum(a * b)) for a, b in pairs)


def _distance(a: Sequence[float], b: Sequence[float]) -> float:
    """|a - b| over the larger norm."""
    scale = max(math.hypot(*a), math.hypot(*b))
    if scale == 0:
        return 0.0
    return math.hypot(*(x - y for x, y in zip(a, b, strict=True))) / scale


def _spreads(
    measured, exact: Sequence[float], steps: Sequence[float], last_digit: float
) -> list[float]:
    """For every step but the last, the relative distance between its differences and
    those at the next step, and at least the part that rounding can cause."""
    spreads = []
    for (coarse, fine), step in zip(
        itertools.pairwise(measured), steps[1:], strict=True
    ):
        size = max(math.hypot(*fine), math.hypot(*exact)) / math.sqrt(len(fine))
        rounded = last_digit / (step * size) if size > 0 else 0.0
        spread = max(_distance(coarse, fine), rounded)
        spreads.append(math.inf if math.isnan(spread) else spread)
    return spreads
