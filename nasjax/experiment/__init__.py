"""A config as a run: checked, built, run, reported."""
