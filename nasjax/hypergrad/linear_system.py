"""Sentences on how well the inverse of `implicit` has solved its linear system."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from nasjax.hypergrad.diagnosis import TWICE, Diagnosis, finite, size
from nasjax.hypergrad.products import hvp

EXPLAINS = 1e-2  # a smaller share of the error needs a large condition number
MISSED = 1e-2  # a residual to mention where the error is not known
CURVED = (
    "raise the damping above the magnitude of the most negative eigenvalue, or use the "
    "curvature ggn"
)


class Solution(NamedTuple):
    """The linear system C x = v of `implicit`, solved; C is H or another curvature.

    Attributes:
      slope: grad_w L_train.
      v: grad_w L_val.
      first: C v.
      x: what the inverse returned.
      product: C x.
      exact: H x.
      report: the inverse's report.
    """

    slope: Any
    v: Any
    first: Any
    x: Any
    product: Any
    exact: Any
    report: dict


class System(Diagnosis):
    """Diagnosis of `implicit`.

    Args:
      solution: at -> `Solution`.
      inverse, curvature: as given to `implicit`.
    """

    def __init__(self, solution: Callable, inverse, curvature: Callable):
        self.solution = solution
        self.inverse = inverse
        self.curvature = curvature

    def not_finite(self, at):
        s = jax.jit(self.solution)(*at)
        if not finite(s.slope):
            return ["The gradient of train_loss is not finite."]
        if not finite(s.v):
            return ["The gradient of val_loss is not finite."]
        if not finite(s.first):
            return [f"A second derivative of train_loss is not finite: {TWICE}."]
        if s.report.get("neumann_last", 0) > 1:
            return [_diverges(s)]
        if not finite(s.x):
            return ["The inverse returned values that are not finite."]
        return ["The derivative of train_loss by w and arch is not finite."]

    def zero(self, at):
        s = jax.jit(self.solution)(*at)
        gave_up = finite((s.v, s.x)) and size(s.v) > 0 and size(s.x) == 0
        return self.biased(at, math.nan) if gave_up else []

    def biased(self, at, error):
        s = jax.jit(self.solution)(*at)
        if not finite((s.v, s.x)) or size(s.v) == 0:
            return []
        causes = list(self._causes(s))
        eps = float(jnp.finfo(jnp.result_type(*jax.tree.leaves(s.v))).eps)
        least = MISSED if math.isnan(error) else EXPLAINS * error
        found = [text for missed, text in causes if not missed < least]
        small = [(missed, text) for missed, text in causes if missed > 1e3 * eps]
        if found or not small or math.isnan(error):
            return found
        missed, text = max(small)
        return [
            f"{text} This explains an error of {error:.1e} only if the condition "
            f"number of H is about {error / missed:.0e} or more."
        ]

    def _causes(self, s: Solution):
        """Pairs (relative residual, sentence) of what x misses."""
        norm, damping = size(s.v), getattr(self.inverse, "damping", 0.0)
        missed = lambda product: size(jax.tree.map(jnp.subtract, s.v, product)) / norm
        damped = jax.tree.map(lambda p, x: p + damping * x, s.product, s.x)
        solved, undamped, exact = map(missed, (damped, s.product, s.exact))
        yield _unsolved(self.inverse, s, solved)
        if undamped > 2 * solved:
            yield (
                undamped,
                f"The damping of {float(damping):g} changes the answer: x solves the "
                f"damped system to a relative residual of {solved:.1e}, and H x = v to "
                f"{undamped:.1e}; lower the damping.",
            )
        if self.curvature is not hvp and exact > 2 * undamped:
            yield (
                exact,
                "The curvature is not the Hessian: x solves its system to a relative "
                f"residual of {undamped:.1e}, and H x = v to {exact:.1e}; the result "
                "is the hypergradient of a nearby problem.",
            )


def _unsolved(inverse, s: Solution, residual: float) -> tuple[float, str]:
    """(the relative residual, a sentence), the residual inf where the inverse gave up."""
    name, report = getattr(inverse, "name", "The inverse"), s.report
    text = f"a relative residual |v - H x| / |v| of {residual:.1e}"
    if report.get("cg_negative_curvature", False):
        return math.inf, (
            f"cg stopped after {int(report['cg_steps'])} steps, with {text}, at a "
            "direction of negative or zero curvature, so H is indefinite or singular: "
            f"{CURVED}."
        )
    if not report.get("neumann_last", 0) <= 1:
        return math.inf, _diverges(s)
    if "cg_steps" in report:
        steps, claimed = int(report["cg_steps"]), float(report["cg_residual"])
        if claimed < residual / 10:
            advice = "rounding keeps it from becoming smaller; use float64 or a damping"
        elif steps < inverse.products:
            advice = "lower tol"
        else:
            advice = "raise max_steps"
        return residual, f"cg has not converged: {text} after {steps} steps; {advice}."
    if "neumann_last" in report:
        return residual, (
            f"The Neumann series has not converged: {text} after "
            f"{inverse.products + 1} terms; raise terms or lr, or use cg."
        )
    if name in ("identity", "amended"):
        taken = "lr v" if name == "identity" else "eta H v"
        return residual, (
            f"{name} takes {taken} for H^-1 v, with {text}; cg solves the system."
        )
    return residual, f"{name} has not solved H x = v: {text}."


def _diverges(s: Solution) -> str:
    pairs = zip(jax.tree.leaves(s.x), jax.tree.leaves(s.product), strict=True)
    curvature = sum(float(jnp.vdot(x, product)) for x, product in pairs)
    if not math.isfinite(curvature):
        cause = f"lr is above 2 / |H|, or H has a negative eigenvalue: lower lr, or {CURVED}"
    elif curvature < 0:
        cause = f"H has negative curvature: use cg and {CURVED}"
    else:
        cause = "lr is above 2 / |H|: lower lr"
    ratio = float(s.report["neumann_last"])
    return f"The Neumann series diverges, its last term is {ratio:.1e} times its first; {cause}."
