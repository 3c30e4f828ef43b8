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
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from nasjax.errors import UserError, unknown

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


def shared(function: Callable, axis: str | None) -> Callable:
    """(w, arch, batch) -> any, of a shard, whose derivatives are those of all shards."""
    if axis is None:
        return function
    return lambda w, arch, batch: function(*lax.pmean((w, arch), axis), batch)


def data_parallel(
    step: Callable,
    batches: Callable,
    axes: Sequence[int],
    where: Sequence[jax.Device],
    mode: str = "jit",
) -> Callable:
    """step(state, *batches(data, state)), with the batches split over devices.

    Args:
      step: (state, *batches) -> (state, metrics), pure.
      batches: (data, state) -> tuple of global batches, pure, replicated.
      axes: the batch axis of each batch: 0, or 1 where leaves lead with [M].
      where: the devices.
      mode: "jit" or "pmap".

    Returns:
      A jitted function (state, data) -> (state, metrics); under "jit" `state` is donated.
    """
    if mode == "pmap":
        return _pmapped(step, batches, axes, where)
    mesh = _mesh(where)
    replicated = NamedSharding(mesh, PartitionSpec())

    def run(state, data):
        made = [
            lax.with_sharding_constraint(
                batch, NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS))
            )
            for batch, axis in zip(batches(data, state), axes, strict=True)
        ]
        return step(state, *made)

    return jax.jit(
        run,
        in_shardings=(replicated, replicated),
        out_shardings=(replicated, replicated),
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

    mapped = jax.pmap(step, AXIS, in_axes=(None, *axes), out_axes=None, devices=where)

    def run(state, data):
        made = [
            shard(batch, axis)
            for batch, axis in zip(batches(data, state), axes, strict=True)
        ]
        return mapped(state, *made)

    return jax.jit(run)


def replicate(tree: Any, where: Sequence[jax.Device]) -> Any:
    """A copy of every array on every device."""
    mesh = _mesh(where)
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def _mesh(where: Sequence[jax.Device]) -> jax.sharding.Mesh:
    return jax.make_mesh(
        (len(where),), (AXIS,), axis_types=(AxisType.Auto,), devices=where
    )
