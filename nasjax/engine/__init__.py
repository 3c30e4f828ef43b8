"""The loop of a run, its folder, checkpoints, devices and compiled programs."""
