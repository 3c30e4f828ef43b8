"""Penalties: terms that are added to alpha's loss."""
