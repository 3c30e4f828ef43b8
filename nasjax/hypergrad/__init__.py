"""Hypergradients of bilevel problems. Imports nothing but jax.

The problem is to minimise L_val(w*(alpha), alpha) over alpha, where w*(alpha) minimises
L_train(w, alpha). An estimator is called as (w, arch, train_batch, val_batch,
opt_state=None) and returns a `Hypergradient` (value, grad). Losses are functions
(w, arch, batch) -> scalar; w, arch and batch are any pytrees.

| estimator | derivative of L_val at | gradient evaluations |
|---|---|---|
| `first_order` | w, taken as constant | 1 |
| `unrolled` | w after T steps of an optimiser | 3 T + 1 |
| `implicit` | the optimum w*(alpha), by an approximate inverse Hessian | 3 + 2 products |
| `chain` | the end of a chain of one-step problems | 1 + 3 per level |
| `finite_difference.*` | the papers' approximations | 4 or 5 |
"""

from nasjax.hypergrad import finite_difference
from nasjax.hypergrad.chain import Level, chain, descend
from nasjax.hypergrad.check import Report, check
from nasjax.hypergrad.estimators import (
    Estimator,
    Hypergradient,
    first_order,
    implicit,
    unrolled,
)
from nasjax.hypergrad.inverses import Inverse, amended, cg, identity, neumann
from nasjax.hypergrad.products import ggn, hvp, mixed_vjp

__all__ = [
    "Estimator",
    "Hypergradient",
    "Inverse",
    "Level",
    "Report",
    "amended",
    "cg",
    "chain",
    "check",
    "descend",
    "finite_difference",
    "first_order",
    "ggn",
    "hvp",
    "identity",
    "implicit",
    "mixed_vjp",
    "neumann",
    "unrolled",
]
