"""Checkpoints of a pytree: atomic, verified, bit-identical.

Only this module imports orbax.

All leaves are stored as one array of bytes, with a record of the name, shape and dtype
of every leaf and a digest of everything. The digest shows that a checkpoint reads back
as it was written; the record shows that it fits the requested state. It is one array
for two reasons: a supernet has thousands of leaves, and orbax needs about a millisecond
for each; and orbax, when several arrays are damaged, leaves reads behind that fail
after their event loop has ended.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from nasjax.core.errors import UserError
from nasjax.core.files import writing
from nasjax.engine.workdir import PROBE_BYTES, reserve

KEEP = 2  # newest checkpoints of a phase


class Checkpoints:
    """The checkpoints of one phase of a run, by step.

    An interrupted write is ignored, and the next write deletes it. A finished
    checkpoint that does not read back as it was written is refused: nothing is deleted,
    and no older checkpoint is used silently instead.
    """

    def __init__(
        self,
        directory: Path,
        keep: int = KEEP,
        also: Callable[[int, int], bool] = lambda step, newest: False,
    ):
        """keep: number of newest to keep; also: (step, newest step) -> keep it too."""
        self.directory = Path(directory).absolute()
        self.keep = keep
        self.also = also

    def steps(self) -> list[int]:
        """The steps with a finished checkpoint, ascending."""
        if not self.directory.is_dir():
            return []
        # Listed here, not by orbax, which would overlook a damaged one.
        names = (path.name for path in self.directory.iterdir())
        return sorted(int(name) for name in names if name.isdecimal())

    def latest(self) -> int | None:
        """The last step with a finished checkpoint, or None."""
        return max(self.steps(), default=None)

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Writes `state` and `meta`, then deletes checkpoints that are not kept.

        Args:
            step: number of steps done; there must be no checkpoint of this step yet.
            state: pytree of arrays; typed PRNG keys and empty arrays are allowed.
            meta: values that JSON can hold.

        Raises:
            UserError: the folder cannot be written to or is full.
        """
        named = sorted(_named(state))
        leaves = {name: _describe(leaf) for name, leaf in named}
        # Never empty: orbax stores no empty array.
        data = b"".join([*(_raw(leaf).tobytes() for _, leaf in named), b"."])
        record: dict[str, Any] = {"leaves": leaves, "meta": meta}
        record["digest"] = _digest(record, data)
        with writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        # Checked first, because orbax meets a full disk in a background thread.
        reserve(self.directory, len(data) + PROBE_BYTES)
        args = ocp.args.Composite(
            state=ocp.args.PyTreeSave({"bytes": np.frombuffer(data, np.uint8)}),
            record=ocp.args.JsonSave(record),
        )
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False,
            cleanup_tmp_directories=True,
        )
        try:
            with (
                writing(self.directory),
                _quiet(),
                ocp.CheckpointManager(self.directory, options=options) as manager,
            ):
                manager.save(step, args=args)
                for old in self.steps()[: -self.keep]:
                    if not self.also(old, step):
                        manager.delete(old)
        except ValueError as error:
            # The form in which tensorstore reports errors of the operating system.
            code = re.search(r"os_error_code='(\d+)'", str(error))
            if code is None:
                raise
            with writing(self.directory):
                raise OSError(int(code[1]), os.strerror(int(code[1]))) from error

    def drop_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps, newest first."""
        for later in reversed([each for each in self.steps() if each > step]):
            with writing(self.directory):
                # Under this name an interrupted deletion is an interrupted write.
                torn = self.directory / f"{later}.orbax-checkpoint-tmp"
                os.replace(self.directory / str(later), torn)
                shutil.rmtree(torn)

    def restore(
        self, abstract_state: Any, step: int | None = None
    ) -> tuple[int, Any, dict[str, Any]]:
        """Reads a checkpoint, the latest by default.

        Args:
            abstract_state: the result of `jax.eval_shape` for the state; an array is
                placed by the sharding of its leaf, if there is one.

        Returns:
            The step, the state, and the meta data saved with it.

        Raises:
            UserError: the checkpoint is torn or damaged, or has another structure.
            FileNotFoundError: there is no checkpoint; call `latest` first.
        """
        if step is None:
            step = self.latest()
        if step is None:
            raise FileNotFoundError(f"no checkpoint in {self.directory}")
        try:
            record, data = self._read(step)
            if record.pop("digest") != _digest(record, data):
                raise ValueError("its contents are not what was written")
        except Exception as error:  # a damaged file can raise any exception
            reason = str(error).strip().partition("\n")[0][:200].rstrip(".")
            raise UserError(
                f"The checkpoint {self.directory / str(step)} is torn or damaged "
                f"({reason}); {self._advice(step)}."
            ) from error
        named = _named(abstract_state)
        expected = {name: _describe(leaf) for name, leaf in named}
        found = record["leaves"]
        for name in [*expected, *found]:
            if expected.get(name) != found.get(name):
                raise UserError(
                    f"The checkpoint {self.directory / str(step)} does not fit this "
                    f"run: {name} is {found.get(name, 'absent')} there and "
                    f"{expected.get(name, 'absent')} here; use the config and the "
                    "version it was written with, or give another folder with "
                    "--workdir."
                )
        values: dict[str, jax.Array] = {}
        offset = 0
        for name, leaf in sorted(named):
            raw = jax.eval_shape(_raw_array, leaf)
            array = np.frombuffer(data, raw.dtype, raw.size, offset).reshape(raw.shape)
            offset += array.nbytes
            values[name] = _place(array, leaf)
        leaves = [values[name] for name, _ in named]
        state = jax.tree.unflatten(jax.tree.structure(abstract_state), leaves)
        return step, state, record["meta"]

    def _read(self, step: int) -> tuple[dict[str, Any], bytes]:
        args = ocp.args.Composite(
            record=ocp.args.JsonRestore(),
            state=ocp.args.PyTreeRestore(
                {"bytes": 0}, {"bytes": ocp.RestoreArgs(restore_type=np.ndarray)}
            ),
        )
        with _quiet():  # the options already warn
            options = ocp.CheckpointManagerOptions(read_only=True)
            with ocp.CheckpointManager(self.directory, options=options) as manager:
                read = manager.restore(step, args=args)
        return read.record, read.state["bytes"].tobytes()

    def _advice(self, step: int) -> str:
        older = [s for s in self.steps() if s < step]
        way = f"resume from step {older[-1]}" if older else "start this phase again"
        return f"delete that folder to {way}, or give another folder with --workdir"


def _named(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [("state" + jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def _describe(leaf: Any) -> str:
    """Dtype and shape, as float32[3, 3]; a PRNG key's dtype has its implementation."""
    return f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}"


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw_array(leaf: Any) -> jax.Array:
    leaf = jnp.asarray(leaf)
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _raw(leaf: Any) -> np.ndarray:
    return np.asarray(_raw_array(leaf))


def _place(array: np.ndarray, leaf: Any) -> jax.Array:
    value = jnp.array(array)  # a copy: the buffer may be donated
    if _is_key(leaf):
        implementation = jax.random.key_impl(jnp.empty((), leaf.dtype))
        value = jax.random.wrap_key_data(value, impl=implementation)
    sharding = getattr(leaf, "sharding", None)
    return value if sharding is None else jax.device_put(value, sharding)


def _digest(record: dict[str, Any], data: bytes) -> str:
    digest = hashlib.sha256(json.dumps(record, sort_keys=True).encode())
    digest.update(data)
    return digest.hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps orbax's log off the terminal; failures raise exceptions."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
