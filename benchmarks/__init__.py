"""Timings next to a plain PyTorch peer. Run with `python -m benchmarks.supernet`."""
