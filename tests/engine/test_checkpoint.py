"""Checkpoints: bit-identical, verified, atomic, or refused in one sentence."""

import asyncio
import json
import resource
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.core.errors import UserError
from nasjax.engine.checkpoint import Checkpoints


def make_state(seed=0):
    key = jax.random.key(seed)
    return {
        "w": {"a/b": jax.random.normal(key, (5, 3)), "c": jnp.float32(-0.0)},
        "half": (jax.random.normal(key, (7,), jnp.bfloat16), None, ()),
        "odd": jnp.array([jnp.nan, jnp.inf, 1e-42], jnp.float32),
        "count": jnp.int32(3),
        "flag": jnp.array([True, False]),
        "empty": jnp.zeros((0, 3)),
        "key": key,
        "keys": jax.random.split(jax.random.key(1, impl="rbg"), (2, 2)),
    }


ABSTRACT = jax.eval_shape(make_state)


def as_bytes(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf).tobytes()


def assert_identical(one, two):
    assert jax.tree.structure(one) == jax.tree.structure(two)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        assert (a.dtype, a.shape) == (b.dtype, b.shape)
        assert as_bytes(a) == as_bytes(b)


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints" / "toy", keep=2)


@pytest.fixture
def saved(checkpoints):
    for step in (10, 20):
        checkpoints.save(step, make_state(step), {"seconds": 0.1 + 0.2, "step": step})
    return checkpoints


def test_what_is_restored_is_what_was_saved_bit_for_bit(saved, capfd, caplog, recwarn):
    step, state, meta = saved.restore(ABSTRACT)
    assert step == 20
    assert_identical(state, make_state(20))
    assert meta == {"seconds": 0.1 + 0.2, "step": 20}
    # The stream of random numbers continues.
    np.testing.assert_array_equal(
        jax.random.normal(state["key"], (4,)),
        jax.random.normal(jax.random.key(20), (4,)),
    )
    assert not list(recwarn)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_restored_arrays_may_be_donated(saved):
    _, state, _ = saved.restore(ABSTRACT)
    step = jax.jit(lambda s: {**s, "count": s["count"] + 1}, donate_argnums=0)
    moved = step(step(state))
    expected = {**make_state(20), "count": jnp.int32(5)}
    assert_identical(moved, expected)


def test_the_newest_are_kept_and_no_thread_is_left(checkpoints, new_threads):
    assert checkpoints.latest() is None
    assert not checkpoints.directory.exists(), "asking must not write"
    for step in (0, 1, 2, 10):
        checkpoints.save(step, make_state(), {})
        assert checkpoints.latest() == step
    assert checkpoints.steps() == [2, 10]
    assert not new_threads()


def test_works_inside_a_running_event_loop(checkpoints):
    async def notebook():
        checkpoints.save(1, make_state(), {})
        return checkpoints.restore(ABSTRACT)

    assert_identical(asyncio.run(notebook())[1], make_state())


def test_an_unfinished_write_is_ignored_and_cleared(saved):
    torn = saved.directory / "30.orbax-checkpoint-tmp"
    shutil.copytree(saved.directory / "20", torn)
    shutil.rmtree(torn / "record")
    assert saved.latest() == 20
    assert saved.restore(ABSTRACT)[0] == 20
    saved.save(30, make_state(30), {})
    assert saved.restore(ABSTRACT)[0] == 30
    assert sorted(p.name for p in saved.directory.iterdir()) == ["20", "30"]


def _files(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _largest(folder):
    return max(folder.rglob("d/*"), key=lambda p: p.stat().st_size)


def _truncate(folder):
    path = _largest(folder)
    path.write_bytes(path.read_bytes()[:-7])


def _flip_every_byte(folder):
    path = _largest(folder)
    path.write_bytes(bytes(b ^ 0x55 for b in path.read_bytes()))


def _change_meta(folder):
    path = folder / "record" / "metadata"
    record = json.loads(path.read_text())
    record["meta"]["step"] = 21
    path.write_text(json.dumps(record))


@pytest.mark.parametrize(
    "harm",
    [
        _truncate,
        _flip_every_byte,
        _change_meta,
        lambda folder: shutil.rmtree(folder / "state"),
        lambda folder: shutil.rmtree(folder / "record"),
        lambda folder: (shutil.rmtree(folder), folder.mkdir()),
        lambda folder: (folder / "record" / "metadata").write_text("{"),
    ],
    ids=["truncated", "flipped", "meta", "no state", "no record", "empty", "malformed"],
)
def test_a_damaged_checkpoint_is_refused_and_left_alone(saved, harm):
    harm(saved.directory / "20")
    before = _files(saved.directory)
    with pytest.raises(UserError, match=r"/toy/20 is torn or damaged .* step 10, or "):
        saved.restore(ABSTRACT)
    assert _files(saved.directory) == before
    # The advice in the message works.
    shutil.rmtree(saved.directory / "20")
    assert_identical(saved.restore(ABSTRACT)[1], make_state(10))


def test_one_changed_value_is_noticed(saved):
    """A checkpoint that orbax reads without an error, but with other values."""
    shutil.rmtree(saved.directory / "20" / "state")
    shutil.copytree(saved.directory / "10" / "state", saved.directory / "20" / "state")
    with pytest.raises(UserError, match="not what was written"):
        saved.restore(ABSTRACT)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"count": jnp.float32(0)},
            r"count'\] is int32\[\] there and float32\[\] here",
        ),
        ({"w": {}}, "float32.* there and absent here"),
        ({"more": jnp.ones(2)}, r"more'\] is absent there and float32\[2\] here"),
        ({"key": jax.random.key(0, impl="rbg")}, r"is key<fry>\[\] there and key<rbg>"),
        ({"empty": jnp.zeros((0, 4))}, r"float32\[0, 3\] there and float32\[0, 4\]"),
    ],
)
def test_another_structure_is_refused_naming_the_leaf(saved, change, sentence):
    abstract = jax.eval_shape(lambda: {**make_state(), **change})
    with pytest.raises(UserError, match=sentence):
        saved.restore(abstract)


def test_a_full_disk_is_a_sentence_and_loses_nothing(saved, capfd):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as if the disk were full
    try:
        with pytest.raises(UserError, match="Cannot write to .*/toy: File too large"):
            saved.save(30, make_state(30), {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert saved.steps() == [10, 20]
    assert_identical(saved.restore(ABSTRACT)[1], make_state(20))
    saved.save(30, make_state(30), {})
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="Cannot write to .*Not a directory"):
        Checkpoints(tmp_path / "file" / "toy").save(1, make_state(), {})
