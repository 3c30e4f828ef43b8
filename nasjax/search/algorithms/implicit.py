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
"""

from __future__ import annotations

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
        "damping": 0.1,  # added to the curvature; a supernet's Hessian needs it above 0
        "max_steps": 5,  # largest number of steps of conjugate gradients
        "tolerance": 1e-2,  # relative residual at which conjugate gradients stop
        "terms": 5,  # number of terms of the Neumann series
        "neumann_rate": 0.1,  # rate of the Neumann series; below 2 / largest curvature
    }


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

    direction = Descent(estimator, adam(settings))
    return base._replace(direction=direction, every=settings.every)


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
