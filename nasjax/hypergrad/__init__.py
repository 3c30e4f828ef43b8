"""Hypergradients of bilevel problems. Imports nothing but jax.

An estimator is called as (w, arch, train_batch, val_batch, opt_state=None) and returns
a `Hypergradient`. It keeps `.objective`, the function whose total derivative it claims,
and `.name`, which logs and results carry.
"""

from nasjax.hypergrad.estimators import Estimator, Hypergradient, first_order, unrolled

__all__ = ["Estimator", "Hypergradient", "first_order", "unrolled"]
