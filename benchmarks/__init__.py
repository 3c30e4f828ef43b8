"""Timings, beside a plain PyTorch peer. Run with `python -m benchmarks.supernet`."""
