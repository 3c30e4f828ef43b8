"""The time of a step if only its arithmetic, or only its memory traffic, took time.

Rates are measured on this machine. Arithmetic: floating-point operations of
convolutions and matrix products, over the rate of a large matrix product. Traffic:
bytes of every map that an operation reads and writes, counted once each, over the rate
of a copy by all cores. The forward pass is one pass; a gradient takes another pass for
maps and another for weights. Maps that stay in a cache cost less.
"""

from __future__ import annotations

import functools
import math
import time

import jax
import jax.numpy as jnp

from nasjax.nets import count, count_supernet, supernet
from nasjax.spaces import DARTS_8, CellSpace, Macro, darts
from nasjax.spaces.mix import Weights

# Passes over the net: forward, gradient by maps, gradient by weights.
PASSES = {
    "weight_step": 3,
    "first_order": 2,  # alpha's gradient needs no gradient of the weights
    "second_order": 3 + 3 + 4,  # two gradients, and a gradient's derivative
}
_BYTES = {"float32": 4, "bfloat16": 2}


def seconds(
    settings, rates: dict[str, float], space: CellSpace | None = None
) -> dict[str, dict[str, float]]:
    """Step -> {"arithmetic", "traffic"}, in seconds; the default is the DARTS space."""
    space = space or darts(DARTS_8)
    net = (settings.channels, settings.cells, settings.classes, settings.size)
    flops = 2 * count_supernet(space, *net, 3)["macs"] * settings.batch
    traffic = _pixels(space, net, settings.batch) * _BYTES[settings.precision]
    passes = PASSES | {"mgs": settings.samples * (3 * settings.inner_steps + 1) + 2}
    return {
        name: {
            "arithmetic": count * flops / rates["flops_per_second"],
            "traffic": count * traffic / rates["bytes_per_second"],
        }
        for name, count in passes.items()
    }


@functools.cache
def _pixels(space: CellSpace, net: tuple[int, int, int, int], batch: int) -> int:
    """Count of numbers that one forward pass reads and writes.

    Each convolution, pool and normalisation reads and writes its map once. A
    normalisation follows each pool and each convolution that is not depthwise.
    """
    channels, cells, classes, size = net
    macro = Macro.of(space, channels, cells, "cifar")
    model = supernet(space, macro, classes, "conv")
    images = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    mix = {
        kind: Weights(jax.ShapeDtypeStruct(space.alpha_shape(kind), jnp.float32))
        for kind in space.types
    }
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
    return 2 * maps  # read and written


def rates(
    precision: str = "float32", side: int = 2048, numbers: int = 2**26
) -> dict[str, float]:
    """The machine's {"flops_per_second", "bytes_per_second"}, the best of five runs.

    Args:
      precision: precision of the matrix product, as networks compute it.
      side: number of rows of the square matrix.
      numbers: number of float32 that are copied.
    """
    product = jax.jit(lambda a: a @ a)
    matrix = jax.random.normal(jax.random.key(0), (side, side), precision)
    product(matrix).block_until_ready()
    negate = jax.jit(lambda a: -a, donate_argnums=0)  # in place: no new pages
    maps = [negate(jax.random.normal(jax.random.key(1), (numbers,)))]

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
