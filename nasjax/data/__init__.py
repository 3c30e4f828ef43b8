"""Data: sources, splits and augmentation of images.

`nasjax.data.sources` and `nasjax.data.splits` work on numpy arrays, once, before a
run; `nasjax.data.augment` works in JAX, inside every jitted step.
"""
