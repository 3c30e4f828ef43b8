"""The nodes of a cell as one buffer that the scanned edges read and add to.

`x = nodes[source]` and `nodes.at[target].add(y)` would be correct. But for every edge
the derivative of `nodes[source]` adds a full buffer that is 0 except at one node, which
takes a fifth of a weight step. Here `read` also returns the buffer. Then `read` and
`add` are each other's transposes, and every derivative changes one node in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from nasjax.nets.lowering.custom import alone, batch_size, lead, no_tangent


def read(nodes: Array, index: Array) -> tuple[Array, Array]:
    """The pair (nodes, nodes[index]); use the returned nodes from then on.

    nodes: [V, ...]; index: int32 scalar.
    """
    return tuple(_read.bind(nodes, index))


def add(nodes: Array, index: Array, x: Array) -> Array:
    """The nodes [V, ...] with x [...] added to node `index`."""
    return _add.bind(nodes, x, index)[0]


def _read_rule(nodes, index):
    return [nodes, lax.dynamic_index_in_dim(nodes, index, keepdims=False)]


def _add_rule(nodes, x, index):
    """The addition as a separate call. Otherwise XLA on a CPU would compute x inside
    the update, on one core and element by element."""

    def added(nodes, x, index):
        total = lax.dynamic_index_in_dim(nodes, index, keepdims=False) + x
        return [lax.dynamic_update_index_in_dim(nodes, total, index, 0)]

    return alone(added, nodes, x, index)


def _primitive(name: str, rule: Callable, arrays: int) -> Primitive:
    """A primitive linear in its first `arrays` operands; the last is the index."""
    primitive: Any = Primitive(f"nodes_{name}")
    primitive.multiple_results = True

    def abstract(nodes, *rest):
        node = nodes.shape[1:]
        shapes = [nodes.shape, node][: 3 - arrays]
        return [jax.core.ShapedArray(shape, nodes.dtype) for shape in shapes]

    def jvp(primals, tangents):
        out = primitive.bind(*primals)
        if all(type(t) is ad.Zero for t in tangents[:arrays]):
            return out, [no_tangent(x) for x in out]
        given = zip(primals[:arrays], tangents[:arrays], strict=True)
        dense = [jnp.zeros_like(p) if type(t) is ad.Zero else t for p, t in given]
        return out, primitive.bind(*dense, primals[-1])

    def batch(operands, axes):
        if axes[-1] is not None:
            raise NotImplementedError("The index of a node cannot be vmapped.")
        size = batch_size(operands, axes)
        # After the axis of the nodes, so the index keeps its meaning.
        given = zip(operands[:arrays], axes[:arrays], (1, 0), strict=False)
        moved = [lead(x, axis, size, to) for x, axis, to in given]
        out = primitive.bind(*moved, operands[-1])
        return out, [1, 0][: len(out)]

    primitive.def_abstract_eval(abstract)
    primitive.def_impl(lambda *operands: jax.jit(rule)(*operands))
    mlir.register_lowering(primitive, mlir.lower_fun(rule))
    ad.primitive_jvps[primitive] = jvp
    batching.primitive_batchers[primitive] = batch
    return primitive


def _read_transpose(cts, nodes, index):
    to_nodes, to_x = cts
    if type(to_x) is ad.Zero:
        return [to_nodes, None]
    if type(to_nodes) is ad.Zero:
        to_nodes = jnp.zeros(nodes.aval.shape, nodes.aval.dtype)
    return [_add.bind(to_nodes, to_x, index)[0], None]


def _add_transpose(cts, nodes, x, index):
    (to_nodes,) = cts
    if type(to_nodes) is ad.Zero:
        return [to_nodes, ad.Zero(x.aval), None]
    return [*_read.bind(to_nodes, index), None]


_read: Any = _primitive("read", _read_rule, 1)
_add: Any = _primitive("add", _add_rule, 2)
ad.primitive_transposes[_read] = _read_transpose
ad.primitive_transposes[_add] = _add_transpose
