"""Memory of `unrolled` next to jax.grad through the same training loop.

    python -m benchmarks.unrolling

A network of six layers of width 128 with tanh, batch 256, float32; arch is a log weight
decay for every layer. Prints, for each optimiser and number of steps, the temporary
memory that XLA plans, in MB, and the median time of seven calls that take turns. Both
programs compute the same hypergradient, which is checked.
"""

from __future__ import annotations

import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

from nasjax import hypergrad

WIDTH, LAYERS, BATCH = 128, 6, 256
OPTIMIZERS = {"sgd": optax.sgd(0.1, 0.9), "adam": optax.adam(1e-3, eps_root=1e-12)}


def val_loss(w, arch, batch):
    x, y = batch
    for matrix in w:
        x = jnp.tanh(x @ matrix)
    return jnp.mean((x - y) ** 2)


def train_loss(w, arch, batch):
    decay = sum(jnp.exp(a) * jnp.sum(m**2) for a, m in zip(arch, w, strict=True))
    return val_loss(w, arch, batch) + decay


def through_the_loop(optimizer):
    """The hypergradient by jax.grad through lax.scan."""

    def trained(arch, w, train_batch, val_batch):
        def step(carry, batch):
            w, state = carry
            slope = jax.grad(train_loss)(w, arch, batch)
            updates, state = optimizer.update(slope, state, w)
            return (optax.apply_updates(w, updates), state), None

        (w, _), _ = jax.lax.scan(step, (w, optimizer.init(w)), train_batch)
        return val_loss(w, arch, val_batch)

    return lambda w, arch, *batches: jax.grad(trained)(arch, w, *batches)


def main() -> None:
    draw = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(draw.normal(size=shape), jnp.float32)
    w = list(normal(LAYERS, WIDTH, WIDTH) / WIDTH**0.5)
    arch = jnp.full(LAYERS, -7.0)
    batch = lambda *steps: (normal(*steps, BATCH, WIDTH), normal(*steps, BATCH, WIDTH))
    val_batch = batch()
    for name, optimizer in OPTIMIZERS.items():
        for steps in (2, 8, 32):
            at = w, arch, batch(steps), val_batch
            estimator = hypergrad.unrolled(train_loss, val_loss, optimizer, steps)
            programs = [
                jax.jit(f).lower(*at).compile()
                for f in (lambda *at: estimator(*at).grad, through_the_loop(optimizer))
            ]
            results = [program(*at) for program in programs]
            np.testing.assert_allclose(*results, rtol=1e-2, atol=1e-5)
            seconds: list[list[float]] = [[], []]
            for _ in range(7):
                for program, times in zip(programs, seconds, strict=True):
                    start = time.perf_counter()
                    jax.block_until_ready(program(*at))
                    times.append(time.perf_counter() - start)
            for kind, program, times in zip(
                ("unrolled", "jax.grad"), programs, seconds, strict=True
            ):
                planned = program.memory_analysis().temp_size_in_bytes / 1e6
                took = 1e3 * statistics.median(times)
                print(f"{name:5} {steps:3} {kind:9} {planned:7.1f} MB {took:7.0f} ms")


if __name__ == "__main__":
    main()
