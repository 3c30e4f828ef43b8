"""Implicit search: the hypergradient of the implicit function theorem.

Lorraine, Vicol, Duvenaud, "Optimizing Millions of Hyperparameters by Implicit
Differentiation", AISTATS 2020, arXiv 1911.02590, algorithms 1 to 3: at the current w,

    alpha <- Adam(alpha, grad_alpha L_val - D_alpha,w L_train . C^-1 . grad_w L_val)

with C^-1 by a Neumann series (their eq. 8) or by conjugate gradients, C being the
curvature of L_train in w plus a damping.

Deviations:
  * The theorem wants w at an optimum, where the curvature is positive. A supernet is
    never there and its Hessian is indefinite, so C is the Gauss-Newton matrix by
    default; `curvature = "hessian"` takes the Hessian.
  * The damping holds for both inverses. The weight decay of w belongs into it.
"""

from __future__ import annotations

import jax

from nasjax import hypergrad
from nasjax.engine import optim
from nasjax.search.base import Problem, Search, bilevel
from nasjax.search.directions import gradient
from nasjax.search.losses import Losses, losses


def build(problem: Problem, settings) -> Search:
    """settings: every, inverse, curvature, damping, neumann_rate, terms, max_steps,
    tolerance; rate, b1, b2, weight_decay (of alpha's Adam)."""
    supernet = losses(problem)
    if settings.inverse == "neumann":
        inverse = hypergrad.neumann(settings.neumann_rate, settings.terms)
    else:
        inverse = hypergrad.cg(settings.max_steps, tol=settings.tolerance)
    curvature = damped(supernet, settings.curvature, settings.damping)
    estimator = hypergrad.implicit(supernet.train, supernet.val, inverse, curvature)
    adam = optim.adam(settings.rate, settings.b1, settings.b2, settings.weight_decay)
    return bilevel(problem, gradient(estimator, adam), problem.cadence(settings.every))


def damped(supernet: Losses, name: str, damping: float):
    """(curvature + damping I) v; name: "ggn" or "hessian"."""
    plain = hypergrad.hvp
    if name == "ggn":
        plain = hypergrad.ggn(supernet.outputs, supernet.of_outputs)

    def curvature(loss, w, arch, batch, v):
        product = plain(loss, w, arch, batch, v)
        return jax.tree.map(lambda p, u: p + damping * u, product, v)

    curvature.__name__ = name
    return curvature
