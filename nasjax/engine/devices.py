"""Devices: the only module that handles them.

A step is written once, over the global batch. It is mapped in one of two ways:

* "jit" (default): the batch is sharded over a mesh of all devices and the compiler
  splits the work; sums and means over the batch are global.
* "pmap": `jax.pmap` over shards, state replicated. Every derivative is taken of the
  loss `pmean(loss(pmean(w), pmean(arch), shard))`, and batch norm averages its moments
  over the same axis. Averaging gradients afterwards would be wrong for second-order
  terms.

Per-example randomness comes from keys that belong to the examples: one device and many
devices draw the same numbers.

For a zero-order step the candidates are split instead of the batch: every device takes
full batches and its share of the candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from nasjax.core.errors import UserError, unknown
from nasjax.engine.platforms import devices

MODES = ("jit", "pmap")
SPLITS = ("candidates", "batch")
AXIS = "devices"


class Devices(NamedTuple):
    """The devices of a run, and how work is split over them.

    Attributes:
      where: the devices.
      mode: "jit" or "pmap".
      split: "batch"; or "candidates", for a zero-order step: every device takes full
        batches, and nothing is averaged over devices.
    """

    where: tuple[jax.Device, ...]
    mode: str = "jit"
    split: str = "batch"

    @classmethod
    def of(cls, count: int = 0, mode: str = "jit") -> Devices:
        """The first `count` devices, or all for 0.

        Raises:
          UserError: there are fewer devices; there is no such mode.
        """
        found = devices()
        if mode not in MODES:
            raise unknown("parallel mode", mode, MODES)
        if not 0 <= count <= len(found):
            raise UserError(
                f"{count} devices were requested, but there are {len(found)}; set "
                f"--config.devices to at most {len(found)}, or 0 for all."
            )
        return cls(tuple(found[: count or None]), mode)

    @property
    def axis(self) -> str | None:
        """The mapped axis that networks and losses average over, if there is one."""
        return AXIS if self.mode == "pmap" and self.split == "batch" else None

    def splitting(self, split: str) -> Devices:
        """The same devices, with another `split`."""
        return self._replace(split=split)

    def check_batch(self, batch: int) -> None:
        """Refuses a batch that the devices cannot share evenly."""
        count = len(self.where)
        if batch % count:
            raise UserError(
                f"A batch of {batch} cannot be split over {count} devices; choose a "
                f"multiple of {count}, or fewer devices with --config.devices."
            )

    def averaged(self, loss: Callable) -> Callable:
        """The loss of the global batch, averaged over shards: (w, arch, batch) -> any.

        Without a mapped axis it is the loss itself.
        """
        if self.axis is None:
            return loss
        return lambda *given: self.mean(self.shared(loss)(*given))

    def mean(self, value: Any) -> Any:
        """The mean over all shards; integers and keys, which all share, as they are."""
        if self.axis is None:
            return value

        def mean(leaf):
            real = jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)
            return lax.pmean(leaf, self.axis) if real else leaf

        return jax.tree.map(mean, value)

    def global_size(self, count: int) -> int:
        """The size of the global batch if every device has `count` examples."""
        return count if self.axis is None else count * lax.axis_size(self.axis)

    def norm(self, array: Array) -> Array:
        """The norm of an array that is split over the devices."""
        square = jnp.sum(jnp.square(array))
        return jnp.sqrt(square if self.axis is None else lax.psum(square, self.axis))

    def shared(self, function: Callable) -> Callable:
        """(w, arch, batch) -> any, for a shard; its derivatives cover all shards."""
        if self.axis is None:
            return function
        return lambda w, arch, batch: function(*self.mean((w, arch)), batch)

    def step(
        self,
        step: Callable,
        batches: Callable,
        axes: Sequence[int | None],
        over: Any = None,
    ) -> Callable:
        """step(state, *batches(data, state)), with the batches split over devices.

        Args:
          step: (state, *batches) -> (state, metrics), pure.
          batches: (data, state) -> tuple of global batches, pure, replicated.
          axes: the batch axis of each batch: 0, or 1 where leaves have a leading axis
            [M]; None for a batch that is not split.
          over: the axes of a state that is the state of several runs, as for `vmap`;
            None for the state of one run. Only under "jit".

        Returns:
          A jitted function (state, data) -> (state, metrics); under "jit" `state` is
          donated.
        """
        if self.mode == "pmap":
            return _pmapped(step, batches, axes, self.where)
        everywhere = self.replicated

        def constrained(batch, axis):
            if axis is None:
                return batch
            split = PartitionSpec(*[None] * axis, AXIS)
            sharding = NamedSharding(everywhere.mesh, split)
            return lax.with_sharding_constraint(batch, sharding)

        def run(state, data):
            made = zip(batches(data, state), axes, strict=True)
            return step(state, *(constrained(*each) for each in made))

        return jax.jit(
            run if over is None else jax.vmap(run, (over, None), (over, 0)),
            in_shardings=(everywhere, everywhere),
            out_shardings=(everywhere, everywhere),
            donate_argnums=0,
        )

    def candidates(
        self, evaluate: Callable, candidates: Any, shared: Any, chunk: int = 0
    ) -> Any:
        """evaluate(candidate, shared) for candidates [N, ...], as `in_chunks`.

        Where the candidates are split, each device takes ceil(N / devices) of them,
        `chunk` at once. `shared` must be the same on all devices. Every device returns
        all values.
        """
        count = len(self.where)
        if count == 1 or self.split != "candidates":
            return in_chunks(evaluate, candidates, shared, chunk)
        size = _count(candidates)
        share = -(-size // count)
        rows = jnp.minimum(jnp.arange(share * count), size - 1)
        even = jax.tree.map(lambda leaf: leaf[rows], candidates)  # padded by the last
        if self.mode == "pmap":
            first = lax.axis_index(AXIS) * share
            cut = lambda leaf: lax.dynamic_slice_in_dim(leaf, first, share)
            values = in_chunks(evaluate, jax.tree.map(cut, even), shared, chunk)
            values = lax.all_gather(values, AXIS, tiled=True)
        else:
            split, whole = PartitionSpec(AXIS), PartitionSpec()
            values = jax.shard_map(
                lambda rows, shared: in_chunks(evaluate, rows, shared, chunk),
                mesh=self.replicated.mesh,
                in_specs=(split, whole),
                out_specs=split,
                check_vma=False,  # primitives of nasjax.nets do not track variance
            )(even, shared)
        return jax.tree.map(lambda leaf: leaf[:size], values)

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of an array with a copy on every device."""
        mesh = jax.make_mesh(
            (len(self.where),),
            (AXIS,),
            axis_types=(AxisType.Auto,),
            devices=self.where,
        )
        return NamedSharding(mesh, PartitionSpec())

    def replicate(self, tree: Any) -> Any:
        """A copy of every array on every device."""
        return jax.device_put(tree, self.replicated)

    def abstract(self, tree: Any) -> Any:
        """The shapes, dtypes and shardings of the result of `replicate`."""
        everywhere = self.replicated

        def shape(leaf):
            kind = jax.typeof(leaf)
            return jax.ShapeDtypeStruct(kind.shape, kind.dtype, sharding=everywhere)

        return jax.tree.map(shape, tree)


def _pmapped(step: Callable, batches: Callable, axes, where) -> Callable:
    count = len(where)

    def shard(batch, axis: int):
        def cut(leaf):
            shape = leaf.shape
            split = (*shape[:axis], count, shape[axis] // count, *shape[axis + 1 :])
            return leaf.reshape(split)

        return jax.tree.map(cut, batch)

    # pmap needs a mapped argument, even if no batch is split.
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
      chunk: number of candidates at once. 0: on a CPU one, which keeps it busy and
        takes the least memory; on other devices all.
    """
    each = lambda candidate: evaluate(candidate, shared)
    if not chunk:
        chunk = 1 if jax.default_backend() == "cpu" else _count(candidates)
    if chunk >= _count(candidates):
        return jax.vmap(each)(candidates)
    if chunk == 1:
        return lax.map(each, candidates)
    return lax.map(each, candidates, batch_size=chunk)


def _count(candidates: Any) -> int:
    return len(jax.tree.leaves(candidates)[0])
