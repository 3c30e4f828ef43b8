"""JAX primitives with lowerings of our own, for the CPU.

Differentiation and vmap see an operation whole; only the compiler looks inside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.experimental.xla_metadata import set_xla_metadata
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def grouped(name: str, rule: Callable, shape: Callable) -> Primitive:
    """A primitive computed by rule(*operands, **static), whose result has the shape
    shape(*operands, **static). All lead with one axis that holds what vmap adds."""
    primitive: Any = Primitive(name)

    @functools.cache
    def jitted(**static):  # traced once for each shape, however often it is bound
        return jax.jit(functools.partial(rule, **static))

    def compute(*operands, **static):
        return jitted(**static)(*operands)

    def abstract(*operands, **static):
        return jax.core.ShapedArray(shape(*operands, **static), operands[-1].dtype)

    def batch(operands, axes, **static):
        size = batch_size(operands, axes)
        groups = (
            lead(x, axis, size).reshape(-1, *_rest(x, axis))
            for x, axis in zip(operands, axes, strict=True)
        )
        out = primitive.bind(*groups, **static)
        return out.reshape(size, -1, *out.shape[1:]), 0

    primitive.def_abstract_eval(abstract)
    primitive.def_impl(compute)
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    batching.primitive_batchers[primitive] = batch
    return primitive


def batch_size(operands, axes) -> int:
    """The size of the axis that vmap adds."""
    pairs = zip(operands, axes, strict=True)
    return next(x.shape[axis] for x, axis in pairs if axis is not None)


def lead(x: Array, axis: int | None, size: int, to: int = 0) -> Array:
    """x with vmap's axis at `to`; repeated there where it has none."""
    if axis is None:
        return jnp.repeat(jnp.expand_dims(x, to), size, to)
    return jnp.moveaxis(x, axis, to)


def no_tangent(x: Array):
    """The symbolic zero that stands for the tangent of x."""
    return ad.Zero(jax.typeof(x).to_tangent_aval())


def _rest(x: Array, axis: int | None) -> tuple[int, ...]:
    """Shape behind the axis of vmap and the group axis."""
    shape = list(x.shape)
    if axis is not None:
        del shape[axis]
    return tuple(shape[1:])


def alone(function: Callable, *operands: Array):
    """function(*operands), on a CPU as a call that XLA does not inline.

    There XLA fuses cheap arithmetic into whatever reads it: once for each reader and
    each shifted slice, on one core or element by element where the reader is an update
    in place or a reshape. Barriers are gone by then; a call is not.

    For lowerings: it is neither differentiated nor mapped.
    """
    shape = jax.eval_shape(function, *operands)
    leaves, tree = jax.tree.flatten(shape)
    out = _alone.bind(*operands, function=function, leaves=tuple(leaves))
    return jax.tree.unflatten(tree, out)


def _inline(*operands, function, leaves):
    return jax.tree.leaves(function(*operands))


def _apart(*operands, function, leaves):
    with set_xla_metadata(inlineable="false"):
        return jax.tree.leaves(jax.jit(function)(*operands))


_alone: Any = Primitive("alone")
_alone.multiple_results = True
_alone.def_abstract_eval(
    lambda *_, leaves, **__: [jax.core.ShapedArray(x.shape, x.dtype) for x in leaves]
)
mlir.register_lowering(_alone, mlir.lower_fun(_inline))
mlir.register_lowering(_alone, mlir.lower_fun(_apart), platform="cpu")
