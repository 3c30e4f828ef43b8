"""Implicit search: the hypergradient of the implicit function theorem.

Lorraine, Vicol, Duvenaud, "Optimizing Millions of Hyperparameters by Implicit
Differentiation", AISTATS 2020, arXiv 1911.02590, algorithms 1 to 3: at the current w,

    alpha <- Adam(alpha, grad_alpha L_val - D_alpha,w L_train . C^-1 . grad_w L_val)

with C^-1 by a Neumann series (their eq. 8) or by conjugate gradients, C being the
curvature of L_train in w plus a damping.

Deviations:
  * The theorem requires w at an optimum, where the curvature is positive. A supernet
    never reaches an optimum and its Hessian is indefinite, so C is the Gauss-Newton
    matrix by default; `curvature = "hessian"` takes the Hessian.
  * Both inverses use the damping. The damping should include the weight decay of w.

The default damping is one for which conjugate gradients solve their system in a few
steps. On the supernet of `:nasbench201-small` after 0, 2 and 5 epochs, means over 8 pairs
of batches of 32, with the cosine of the solved hypergradient to the first-order gradient
and the norm of its implicit term over the norm of that gradient:

    damping   residual, 5 steps    10 steps             cosine              norm
    0.03      1.87, 1.07, 1.44     0.72, 0.35, 0.47     0.14, -0.05, 0.29   64, 9.9, 15
    0.1       0.94, 0.42, 0.57     0.16, 0.05, 0.08     0.18, -0.02, 0.32   23, 3.6, 4.9
    0.3       0.33, 0.11, 0.15     0.02, 5e-3, 8e-3     0.24, 0.17, 0.40    9.7, 1.6, 2.0
    1         0.06, 0.01, 0.02     6e-4, 4e-5, 1e-4     0.36, 0.60, 0.69    4.1, 0.8, 0.9
    3         5e-3, 5e-4, 1e-3     4e-6, 9e-8, 3e-7     0.54, 0.88, 0.91    1.8, 0.5, 0.4

A residual of 1 is that of no solution. On the embedded digits a damping of 1 leaves 0.04
to 0.11 after 5 steps and at most 0.02 after 10. The largest eigenvalue of the
Gauss-Newton matrix was 6 to 14, so the series converges at the default rate. A run says
so if the residual is above 0.1 at the end of an epoch, or if the series diverges.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax

from nasjax import hypergrad
from nasjax.core.limits import above, at_least, one_of
from nasjax.search.base import Algorithm
from nasjax.search.bilevel import Bilevel
from nasjax.search.directions import ADAM_LIMITS, Descent, adam, adam_settings


def settings(scale: str) -> dict[str, Any]:
    """The default settings of Adam, of the curvature and of its inverse."""
    return adam_settings(scale) | {
        "inverse": "cg",  # conjugate gradients, or "neumann"
        "curvature": "ggn",  # Gauss-Newton, never negative; or "hessian"
        "damping": 1.0,  # added to the curvature; the table above
        "max_steps": 10,  # largest number of steps of conjugate gradients
        "tolerance": 1e-2,  # relative residual at which conjugate gradients stop
        "terms": 5,  # number of terms of the Neumann series
        "neumann_rate": 0.1,  # rate of the Neumann series; below 2 / largest curvature
    }


UNSOLVED = 0.1  # residual of conjugate gradients that a run mentions
HELD = (
    5  # gradients in the compiled program: a gradient and two products, one in a loop
)

LIMITS = ADAM_LIMITS | {
    "inverse": one_of("neumann", "cg"),
    "curvature": one_of("ggn", "hessian"),
    "damping": at_least(0.0),
    "max_steps": at_least(1),
    "tolerance": at_least(0.0),
    "terms": at_least(1),
    "neumann_rate": above(0.0),
}


def build(settings, base: Algorithm) -> Algorithm:
    """The implicit direction."""

    def estimator(problem: Bilevel):
        if settings.inverse == "neumann":
            inverse = hypergrad.neumann(settings.neumann_rate, settings.terms)
        else:
            inverse = hypergrad.cg(settings.max_steps, tol=settings.tolerance)
        curvature = damped(problem, settings.curvature, settings.damping)
        return hypergrad.implicit(problem.train, problem.val, inverse, curvature)

    direction = Descent(
        estimator, adam(settings), held=HELD,
        remark=lambda metrics: unsolved(metrics, settings),
    )  # fmt: skip
    return base._replace(direction=direction, every=settings.every)


def unsolved(metrics: Mapping[str, float | None], settings) -> str | None:
    """What the inverse of the last move of alpha missed, and the setting to change.

    metrics: of a line of the log; None is a number that is not finite.
    """
    field = lambda name: f"--config.arch.implicit.{name} ({getattr(settings, name)})"
    last = metrics.get("neumann_last", 0.0)
    if last is None or last > 1:
        times = "infinitely many" if last is None else f"{last:.2g}"
        remedy = f"lower {field('neumann_rate')}"
        if settings.curvature == "hessian":
            remedy += f" or raise {field('damping')}"
        return (
            f"the Neumann series diverges, its last term is {times} times its first, so "
            f"alpha does not follow the implicit gradient; {remedy}."
        )
    residual = metrics.get("cg_residual", 0.0)
    if residual is not None and residual <= UNSOLVED:
        return None
    remedy = f"raise {field('damping')} or {field('max_steps')}"
    if residual is None:
        remedy = "lower --config.search.rate, because the weights diverge"
    elif metrics.get("cg_negative_curvature"):
        remedy = f"raise {field('damping')}"
        if settings.curvature != "ggn":
            remedy += " or set --config.arch.implicit.curvature=ggn"
    elif (metrics.get("cg_steps") or 0) < settings.max_steps:
        remedy = f"lower {field('tolerance')}"
    left = (
        "no finite residual"
        if residual is None
        else f"a relative residual of {residual:.2g}"
    )
    return (
        f"conjugate gradients leave {left} (above {UNSOLVED} the system is not solved), "
        f"so alpha does not follow the implicit gradient; {remedy}."
    )


def damped(problem: Bilevel, name: str, damping: float):
    """The function for (curvature + damping I) v; name: "ggn" or "hessian"."""
    plain = hypergrad.hvp
    if name == "ggn":
        plain = hypergrad.ggn(problem.outputs, problem.of_outputs)

    def curvature(loss, w, arch, batch, v):
        product = plain(loss, w, arch, batch, v)
        return jax.tree.map(lambda p, u: p + damping * u, product, v)

    curvature.__name__ = name
    return curvature
