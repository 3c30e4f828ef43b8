"""Data: where images come from, how they are split, how they are augmented.

`nasjax.data.sources` and `nasjax.data.splits` work on numpy arrays, once, before a
run; `nasjax.data.augment` works in JAX, inside every jitted step.
"""
