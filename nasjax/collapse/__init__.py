"""Collapse of a search: early stopping, roll-back, a verdict on a finished run."""
