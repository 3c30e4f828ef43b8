"""Devices: the only file that names them.

A step is written once, over the global batch. It is mapped in one of two ways:

* "jit" (default): the batch is sharded over a mesh of all devices and the compiler
  splits the work; sums and means over the batch are global as they stand.
* "pmap": `jax.pmap` over shards, state replicated. Then the loss handed to every
  derivative is `pmean(loss(pmean(w), pmean(arch), shard))` and batch norm averages its
  moments over the same axis. Averaging gradients afterwards would be wrong for second
  order terms.

Per-example randomness comes from keys that travel with the examples, so one device
and many draw the same.

The candidates of a zero-order step are split in the place of the batch: every device
takes whole batches and its share of the candidates (`over_candidates`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from nasjax.core.errors import UserError, unknown

MODES = ("jit", "pmap")
AXIS = "devices"


def axis_name(mode: str) -> str | None:
    """The mapped axis that networks and losses average over; None under "jit"."""
    if mode not in MODES:
        raise unknown("parallel mode", mode, MODES)
    return AXIS if mode == "pmap" else None


def devices(count: int = 0) -> list[jax.Device]:
    """The first `count` devices, or all for 0."""
    found = jax.devices()
    if not 0 <= count <= len(found):
        raise UserError(
            f"{count} devices were asked for and {len(found)} are here; set "
            f"--config.devices to at most {len(found)}, or 0 for all."
        )
    return found[: count or None]


def check_batch(batch: int, count: int) -> None:
    """Refuse a batch that the devices cannot share evenly."""
    if batch % count:
        raise UserError(
            f"A batch of {batch} cannot be split over {count} devices; choose a "
            f"multiple of {count}, or fewer devices with --config.devices."
        )


def averaged(loss: Callable, axis: str | None) -> Callable:
    """The loss of the whole batch, from the loss of a shard: (w, arch, batch) -> any.

    Without an axis it is the loss itself.
    """
    if axis is None:
        return loss
    return lambda *arguments: lax.pmean(shared(loss, axis)(*arguments), axis)


def mean(value: Any, axis: str | None) -> Any:
    """The mean over all shards."""
    return value if axis is None else lax.pmean(value, axis)


def whole(count: int, axis: str | None) -> int:
    """The size of a batch of which every device has `count` examples."""
    return count if axis is None else count * lax.axis_size(axis)


def shared(function: Callable, axis: str | None) -> Callable:
    """(w, arch, batch) -> any, of a shard, whose derivatives are those of all shards."""
    if axis is None:
        return function
    return lambda w, arch, batch: function(*lax.pmean((w, arch), axis), batch)


def data_parallel(
    step: Callable,
    batches: Callable,
    axes: Sequence[int | None],
    where: Sequence[jax.Device],
    mode: str = "jit",
) -> Callable:
    """step(state, *batches(data, state)), with the batches split over devices.

    Args:
      step: (state, *batches) -> (state, metrics), pure.
      batches: (data, state) -> tuple of global batches, pure, replicated.
      axes: the batch axis of each batch: 0, or 1 where leaves lead with [M]; None for
        a batch that every device takes whole.
      where: the devices.
      mode: "jit" or "pmap".

    Returns:
      A jitted function (state, data) -> (state, metrics); under "jit" `state` is donated.
    """
    if mode == "pmap":
        return _pmapped(step, batches, axes, where)
    mesh, everywhere = _mesh(where), replicated(where)

    def run(state, data):
        made = [
            batch
            if axis is None
            else lax.with_sharding_constraint(
                batch, NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))
            )
            for batch, axis in zip(batches(data, state), axes, strict=True)
        ]
        return step(state, *made)

    return jax.jit(
        run,
        in_shardings=(everywhere, everywhere),
        out_shardings=(everywhere, everywhere),
        donate_argnums=0,
    )


def _pmapped(step: Callable, batches: Callable, axes, where) -> Callable:
    count = len(where)

    def shard(batch, axis: int):
        def cut(leaf):
            shape = leaf.shape
            split = (*shape[:axis], count, shape[axis] // count, *shape[axis + 1 :])
            return leaf.reshape(split)

        return jax.tree.map(cut, batch)

    # pmap wants a mapped argument, also where every batch is taken whole.
    mapped = jax.pmap(
        lambda index, state, *made: step(state, *made),
        AXIS,
        in_axes=(0, None, *axes),
        out_axes=None,
        devices=where,
    )

    def run(state, data):
        made = [
            batch if axis is None else shard(batch, axis)
            for batch, axis in zip(batches(data, state), axes, strict=True)
        ]
        return mapped(jnp.arange(count), state, *made)

    return jax.jit(run)


def in_chunks(evaluate: Callable, candidates: Any, shared: Any, chunk: int = 0) -> Any:
    """evaluate(candidate, shared) for candidates [N, ...] under vmap, on one device.

    Args:
      chunk: how many at once. 0: one on a CPU, which is busy with one and needs the memory of
        one; all elsewhere.
    """
    each = lambda candidate: evaluate(candidate, shared)
    if not chunk:
        chunk = 1 if jax.default_backend() == "cpu" else _count(candidates)
    if chunk >= _count(candidates):
        return jax.vmap(each)(candidates)
    if chunk == 1:
        return lax.map(each, candidates)
    return lax.map(each, candidates, batch_size=chunk)


def over_candidates(where: Sequence[jax.Device], mode: str = "jit") -> Callable:
    """`in_chunks` that splits the candidates over devices.

    Each device takes ceil(N / devices) of them, `chunk` at once, and whole batches, so
    nothing is averaged between devices and one more device is one less chunk. `shared`
    must be the same on all. The values come back whole, on every device.
    """
    count = len(where)
    if count == 1:
        return in_chunks

    def spread(evaluate: Callable, candidates: Any, shared: Any, chunk: int = 0) -> Any:
        size = _count(candidates)
        share = -(-size // count)
        rows = jnp.minimum(jnp.arange(share * count), size - 1)
        even = jax.tree.map(lambda leaf: leaf[rows], candidates)  # the last one again
        if mode == "pmap":
            first = lax.axis_index(AXIS) * share
            cut = lambda leaf: lax.dynamic_slice_in_dim(leaf, first, share)
            values = in_chunks(evaluate, jax.tree.map(cut, even), shared, chunk)
            values = lax.all_gather(values, AXIS, tiled=True)
        else:
            split, whole = PartitionSpec(AXIS), PartitionSpec()
            values = jax.shard_map(
                lambda rows, shared: in_chunks(evaluate, rows, shared, chunk),
                mesh=_mesh(where),
                in_specs=(split, whole),
                out_specs=split,
                check_vma=False,  # primitives of nasjax.nets do not track variance
            )(even, shared)
        return jax.tree.map(lambda leaf: leaf[:size], values)

    return spread


def _count(candidates: Any) -> int:
    return len(jax.tree.leaves(candidates)[0])


def replicate(tree: Any, where: Sequence[jax.Device]) -> Any:
    """A copy of every array on every device."""
    return jax.device_put(tree, replicated(where))


def abstract(tree: Any, where: Sequence[jax.Device]) -> Any:
    """The shapes of what `replicate` gives."""
    everywhere = replicated(where)

    def shape(leaf):
        kind = jax.typeof(leaf)
        return jax.ShapeDtypeStruct(kind.shape, kind.dtype, sharding=everywhere)

    return jax.tree.map(shape, tree)


def replicated(where: Sequence[jax.Device]) -> NamedSharding:
    """The sharding of an array of which every device has a copy."""
    return NamedSharding(_mesh(where), PartitionSpec())


def _mesh(where: Sequence[jax.Device]) -> jax.sharding.Mesh:
    return jax.make_mesh(
        (len(where),), (AXIS,), axis_types=(AxisType.Auto,), devices=where
    )
