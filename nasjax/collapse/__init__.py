"""Collapse of a search: early stopping, roll-back, and a verdict on a finished run."""
