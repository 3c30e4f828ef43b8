"""What a step would take if nothing but its arithmetic, or its memory traffic, counted.

With the rates measured on the machine at hand: floating-point operations of the
convolutions and matrix products over the rate of a large matrix product, and the bytes
of every map that an operation reads and writes, once each, over the rate of a copy by
all cores. One pass is the forward pass; a gradient takes another for each side (maps,
and weights). Maps that stay in a cache cost less than that.
"""

from __future__ import annotations

import math
import time

import jax
import jax.numpy as jnp

from nasjax.nets import count, count_supernet, supernet
from nasjax.spaces import DARTS_8, Macro, darts

# Passes over the net: forward, gradient by maps, gradient by weights.
PASSES = {
    "weight_step": 3,
    "first_order": 2,  # alpha's gradient needs no weights'
    "second_order": 3 + 3 + 4,  # two gradients, and a gradient's derivative
}


def seconds(settings, rates: dict[str, float]) -> dict[str, dict[str, float]]:
    """Step -> {"arithmetic", "traffic"}, in seconds."""
    space, macro = darts(DARTS_8), Macro(settings.channels, settings.cells)
    macs = count_supernet(
        space, settings.channels, settings.cells, settings.classes, settings.size, 3
    )["macs"]
    flops = 2 * macs * settings.batch
    traffic = _map_bytes(space, macro, settings)
    passes = PASSES | {"mgs": settings.samples * (3 * settings.inner_steps + 1) + 2}
    return {
        name: {
            "arithmetic": count * flops / rates["flops_per_second"],
            "traffic": count * traffic / rates["bytes_per_second"],
        }
        for name, count in passes.items()
    }


def _map_bytes(space, macro: Macro, settings) -> int:
    """Bytes that one forward pass reads and writes: once for each convolution and pool,
    once for each normalisation, which is behind all but the depthwise ones."""
    model = supernet(space, macro, settings.classes, "conv")
    shape = (settings.batch, settings.size, settings.size, 3)
    images = jax.ShapeDtypeStruct(shape, jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    edges = (len(space.edges), len(space.primitives))
    mix = {kind: jax.ShapeDtypeStruct(edges, jnp.float32) for kind in space.types}
    apply = lambda *args: model.apply(*args, train=True)
    program = jax.make_jaxpr(apply)(variables, mix, images)
    passes = lambda equation: (
        1 if equation.params.get("feature_group_count", 1) > 1 else 2
    )
    maps = sum(
        repeats * passes(equation) * math.prod(equation.outvars[0].aval.shape)
        for equation, repeats in count.equations(program.jaxpr)
        if equation.primitive.name.startswith(("conv_general", "reduce_window"))
    )
    return 2 * 4 * maps  # read and written, float32


def rates() -> dict[str, float]:
    """The machine's: {"flops_per_second", "bytes_per_second"}, best of a few."""
    side = 2048
    product = jax.jit(lambda a: a @ a)
    matrix = jnp.ones((side, side))
    product(matrix).block_until_ready()
    negate = jax.jit(lambda a: -a, donate_argnums=0)  # in place: no new pages
    maps = [negate(jnp.ones(2**26))]

    def pass_over():
        maps.append(negate(maps.pop()).block_until_ready())

    return {
        "flops_per_second": 2
        * side**3
        / _best(lambda: product(matrix).block_until_ready()),
        "bytes_per_second": 2 * maps[0].nbytes / _best(pass_over),
    }


def _best(call) -> float:
    took = []
    for _ in range(5):
        began = time.perf_counter()
        call()
        took.append(time.perf_counter() - began)
    return min(took)
