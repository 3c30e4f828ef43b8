"""JAX primitives with custom lowerings, for the CPU.

Differentiation and vmap treat an operation as one primitive; only the compiler sees its
parts.
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
    shape(*operands, **static). The leading axis of every array holds vmap's axes."""
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
    """x with vmap's axis at `to`; x is repeated along `to` if it has no such axis."""
    if axis is None:
        return jnp.repeat(jnp.expand_dims(x, to), size, to)
    return jnp.moveaxis(x, axis, to)


def no_tangent(x: Array):
    """The symbolic zero that stands for the tangent of x."""
    return ad.Zero(jax.typeof(x).to_tangent_aval())


def _rest(x: Array, axis: int | None) -> tuple[int, ...]:
    """The shape without the axis of vmap and the group axis."""
    shape = list(x.shape)
    if axis is not None:
        del shape[axis]
    return tuple(shape[1:])


def alone(function: Callable, *operands: Array):
    """Computes function(*operands), on a CPU as a call that XLA does not inline.

    On a CPU XLA fuses cheap arithmetic into its readers: once for each reader and each
    shifted slice, and on one core or element by element if the reader is an update in
    place or a reshape. XLA has removed barriers by then, but not calls.

    `alone` is for lowerings: it cannot be differentiated or mapped.
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
