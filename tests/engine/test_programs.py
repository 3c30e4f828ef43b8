"""Programs found in a store: a program that fits is run, any other is compiled."""

import errno
import functools
import importlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from ml_collections import ConfigDict
from support.tiny import shrink

import nasjax
from nasjax.data.augment import Augment
from nasjax.data.splits import Part
from nasjax.engine import programs
from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import NOTHING, Programs, Store
from nasjax.experiment import build, phases, single
from nasjax.experiment.defaults import TRACED
from nasjax.experiment.phases import retrain_phase
from nasjax.search.penalties.budget import multiply_adds, price
from nasjax.tasks.retrain import Training, TrainState, retraining

WHERE = jax.devices()[:1]
OPTIONS = {}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "kept").of("this config")


class Session:
    """One start of a program; it records the functions that it traces."""

    def __init__(self, store):
        self.traced = []

        def init(key):
            self.traced.append("init")
            return {"key": key, "x": jax.random.normal(key, (5,))}

        def step(state, data):
            self.traced.append("step")
            x = jnp.sort(state["x"]) + data["shift"]  # a sort can be kept only unused
            return {**state, "x": x}, {"loss": x.sum()}

        self.programs = Programs(
            store, WHERE, init=jax.jit(init), step=jax.jit(step, donate_argnums=0)
        )
        self.data = {"shift": jnp.arange(5.0)}

    def run(self, steps=3):
        state = self.programs.initial(jax.random.key(7))
        planned = self.programs.compile({"step": (state, self.data)}, "step", OPTIONS)
        assert planned["step"] > 0
        for _ in range(steps):
            state, metrics = self.programs["step"](state, self.data)
        return np.asarray(state["x"]), float(metrics["loss"])


def same(found, expected):
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1] == expected[1]


def test_a_second_start_traces_nothing_and_computes_the_same_bits(store):
    first = Session(store)
    expected = first.run()
    assert first.traced == ["init", "step"]
    second = Session(store)
    shapes = second.programs.shapes("init", jax.random.key(0))
    assert shapes["x"].shape == (5,) and shapes["key"].dtype == jax.random.key(0).dtype
    same(second.run(), expected)
    assert second.traced == []
    nothing = Session(NOTHING)
    same(nothing.run(), expected)
    assert nothing.traced == ["init", "step"]


def test_what_depends_on_something_else_is_not_found(store):
    Session(store).run()
    other = Session(store.of("another space"))
    other.run()
    assert other.traced == ["init", "step"]
    assert len(list(store.folder.glob("*.program"))) == 4


def damages():
    def torn(data):
        return data[: len(data) // 2]

    def flipped(data):
        middle = len(data) // 2
        return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]

    def empty(data):
        return b""

    def of_another_build(data):
        """The file is complete, but this XLA cannot load it."""
        import hashlib

        payload = b"no pickle"
        digest = hashlib.sha256(payload).hexdigest()
        head = {**json.loads(data.partition(b"\n")[0]), "digest": digest}
        return json.dumps(head).encode() + b"\n" + payload

    return [torn, flipped, empty, of_another_build]


@pytest.mark.parametrize("damage", damages())
def test_a_damaged_file_is_never_run(store, damage):
    expected = Session(store).run()
    for file in store.folder.glob("*.program"):
        file.write_bytes(damage(file.read_bytes()))
    again = Session(store)
    same(again.run(), expected)
    assert again.traced == ["init", "step"]
    healed = Session(store)
    same(healed.run(), expected)
    assert healed.traced == []


def test_a_program_that_is_damaged_after_it_was_found_is_compiled(store):
    expected = Session(store).run()
    again = Session(store)
    again.programs._ready["step"] = None  # as if it could not be loaded
    same(again.run(), expected)
    assert again.traced == ["step"]


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    there = Session(Store(tmp_path / "file" / "below"))
    there.run()
    assert there.traced == ["init", "step"]
    assert (tmp_path / "file").read_text() == ""


def test_what_cannot_be_serialised_is_not_kept(store):
    def step(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct((), jnp.float32), x)

    made = Programs(store, WHERE, step=jax.jit(step))
    made.compile({"step": (jnp.float32(1),)}, "step", OPTIONS)
    assert float(made["step"](jnp.float32(1))) == pytest.approx(np.sin(1))
    assert not list(store.folder.glob("*"))


def test_what_was_used_longest_ago_makes_room(store, monkeypatch):
    for index in range(4):
        Session(store.of(index)).run()
        for file in store.folder.glob("*.program"):
            if file.stat().st_mtime > 1e6:  # not yet aged
                os.utime(file, (index, index))
    sizes = [file.stat().st_size for file in store.folder.iterdir()]
    Session(store.of(0)).run()  # used again
    monkeypatch.setattr(programs, "LIMIT", sum(sizes) + 1)
    Session(store.of(4)).run()
    kept = [Session(store.of(index)) for index in range(5)]
    found = [any(session.programs._planned.values()) for session in kept]
    assert found == [True, False, True, True, True]


def test_values_are_made_once(store):
    made = []

    def make():
        made.append(1)
        return {"macs": 3}

    assert store.value("count", make) == store.value("count", make) == {"macs": 3}
    assert len(made) == 1
    store.file("count", "json").write_text("{torn")
    assert store.value("count", make) == {"macs": 3} and len(made) == 2
    assert NOTHING.value("count", make) == {"macs": 3} and len(made) == 3


def test_the_code_is_that_of_the_config_and_of_every_module(tmp_path, monkeypatch):
    config, module = tmp_path / "config.py", tmp_path / "own_operations.py"
    config.write_text("a")
    module.write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    digests = [programs.code(config)]
    importlib.import_module("own_operations")
    try:
        digests.append(programs.code(config))
        module.write_text("x = 11")
        digests.append(programs.code(config))
        config.write_text("b")
        digests.append(programs.code(config))
        assert programs.code(config) == digests[-1]
    finally:
        del sys.modules["own_operations"]
    assert len(set(digests)) == 4


def test_the_environment_is_that_of_the_programs(monkeypatch):
    before = programs.environment(WHERE)
    assert programs.environment(WHERE) == before
    assert programs.environment(jax.devices()[:2]) != before
    with monkeypatch.context() as patch:
        patch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
        assert programs.environment(WHERE) != before
    jax.config.update("jax_default_matmul_precision", "highest")
    try:
        assert programs.environment(WHERE) != before
    finally:
        jax.config.update("jax_default_matmul_precision", None)
    assert programs.environment(WHERE) == before


@pytest.mark.parametrize(("count", "mode"), [(1, "jit"), (2, "jit"), (2, "pmap")])
def test_a_phase_finds_its_programs_on_any_number_of_devices(tmp_path, count, mode):
    """Programs that were compiled from shapes alone are found too."""
    store, devices, traced = Store(tmp_path), Devices.of(count, mode), []
    rng = np.random.default_rng(0)
    part = Part(rng.integers(0, 255, (8, 4, 4, 1), np.uint8), np.arange(8) % 2)

    def training():  # new functions, which JAX has not traced yet
        def init(key):
            traced.append("init")
            w = jax.random.normal(key, (16,))
            return TrainState(jnp.int32(0), key, w, {}, {})

        def step(state, batch, hyper):
            traced.append("step")

            def error(w, arch, batch):
                image = batch["image"].reshape(len(batch["label"]), -1)
                return jnp.mean((image @ w - batch["label"]) ** 2)

            loss = devices.averaged(error)
            value, grad = jax.value_and_grad(loss)(state.w, None, batch)
            moved = state._replace(step=state.step + 1, w=state.w - hyper.rate * grad)
            return moved, {"loss": value}

        return Training(init, step)

    def phase_of(store, abstract=False):
        hyper = Hyper(epochs=2, rate=0.1, rate_min=0.0, weight_decay=0.0)
        own = retraining(training(), part._asdict(), Augment(), 4, None, None)
        return retrain_phase(
            "retrain", own, hyper, jax.random.key(1), devices, store, abstract,
        )  # fmt: skip

    def run(store):
        phase = phase_of(store)
        state = phase.place(phase.init())
        phase.compile(state)
        for index in range(phase.steps):
            state, metrics = phase.step(state, index)
        return np.asarray(state.w), float(metrics["loss"])

    expected = run(NOTHING)
    traced.clear()
    shapes = phase_of(store, abstract=True)
    shapes.compile(shapes.place(shapes.init()))
    assert set(traced) == {"init", "step"}
    traced.clear()
    same(run(store), expected)
    assert traced == []


def test_what_a_phase_does_not_ask_for_is_not_loaded(store, monkeypatch):
    Session(store).run()
    loaded = []
    load = Store.load
    monkeypatch.setattr(
        Store, "load", lambda self, name, where: loaded.append(name) or load(self, name, where)
    )  # fmt: skip
    ended = Session(store)
    assert ended.programs.shapes("init", jax.random.key(0))["x"].shape == (5,)
    assert loaded == ["init"]
    Session(store).run()
    assert loaded == ["init", "init", "step"]


@pytest.fixture(scope="module")
def made():
    """The objects of a config whose search has a cost penalty."""
    path = ROOT / "configs" / "zarts_budget.py"
    return build.build(shrink(runpy.run_path(str(path))["get_config"]()))


def key(made):
    """The name of the file of a program."""
    caught = []

    def catching(store, *arguments, **programs):
        caught.append(store.file("alpha"))
        raise StopIteration

    begin = functools.partial(made.begin, made.algorithm.stages[-1], None)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StopIteration):
        patch.setattr(phases, "Programs", catching)
        phases.search_phase(
            "search", lambda hyper: begin(), Hyper(1, 0.1, 0.0, 0.0),
            made.domain.halves, jax.random.key(0), made.devices, None,
            lambda search: [], single.store_of(made, ROOT, "code"),
        )  # fmt: skip
    return caught[0]


def test_programs_of_other_fields_are_others_unless_they_are_arguments(
    made, monkeypatch
):
    search = made.begin(made.algorithm.stages[-1], None)
    monkeypatch.setattr(build.Experiment, "begin", lambda *_: search)
    fields, others = made.config.to_dict(), {}
    leaf = lambda value: not isinstance(value, dict)
    for path, value in jax.tree_util.tree_leaves_with_path(fields, is_leaf=leaf):
        changed = made.config.to_dict()
        *groups, field = (each.key for each in path)
        functools.reduce(dict.__getitem__, groups, changed)[field] = ("other", value)
        name = ".".join((*groups, field))
        others[name] = key(made._replace(config=ConfigDict(changed)))
    found = {name for name, other in others.items() if other == key(made)}
    assert found == set(TRACED)
    different = [other for name, other in others.items() if name not in TRACED]
    assert len(set(different)) == len(different) > 50


def test_programs_of_other_data_or_another_price_are_others(made):
    """With equal configs, and numbers that differ in the ninth digit."""

    def slightly(numbers):
        return jax.tree.map(lambda x: x * (1 + 1e-9), numbers)

    domain = made.domain
    augment, data = domain.search_augment, domain.data

    def changed_domain(**fields):
        return made._replace(domain=domain._replace(**fields))

    def priced(change_costs=lambda x: x, change_fixed=lambda x: x):
        def penalty(space, relaxation, final):
            costs, fixed = multiply_adds(space, *final)
            own = made.config.arch.budget
            changed = change_costs(costs), change_fixed(fixed)
            return price(space, relaxation, *changed, own.most, own.weight)

        return of_penalties(penalty)

    def of_penalties(*penalties):
        return made._replace(algorithm=made.algorithm._replace(penalties=penalties))

    others = (
        made,
        changed_domain(search_augment=augment._replace(mean=slightly(augment.mean))),
        changed_domain(search_augment=augment._replace(std=slightly(augment.std))),
        changed_domain(retrain_augment=augment._replace(mean=slightly(augment.mean))),
        changed_domain(retrain_augment=augment._replace(std=slightly(augment.std))),
        changed_domain(data=data._replace(classes=(*data.classes, "one more"))),
        priced(change_fixed=slightly),
        priced(change_costs=slightly),
        of_penalties(),
    )
    assert key(priced()) == key(made)
    assert len({key(each) for each in others}) == len(others)
    again = data._replace(classes=data.classes[::-1])  # as many of other names
    assert key(changed_domain(data=again)) == key(made)


def test_many_write_at_once_and_none_is_lost(store):
    def write(index):
        for each in range(25):
            store.value(f"{index} {each}", lambda: [0] * 1000)

    threads = [threading.Thread(target=write, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(store.folder.iterdir())) == 200


def test_a_full_disk_leaves_nothing_behind(store, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    Session(store).run()
    assert not list(store.folder.iterdir())


def test_what_belongs_to_another_user_is_run_as_it_is(store, monkeypatch):
    expected = Session(store).run()

    def refuse(*arguments):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    again = Session(store)
    same(again.run(), expected)
    assert again.traced == []


def test_a_checkout_of_the_same_sources_is_the_same_code(tmp_path):
    """Another time of a source changes nothing; other text of the same size and time
    changes the code."""
    root = Path(nasjax.__file__).parent
    shutil.copytree(root, tmp_path / "nasjax")
    file = tmp_path / "nasjax" / "search" / "relax.py"

    def code():
        command = "from nasjax.engine.programs import code; print(code())"
        environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.check_output(
            [sys.executable, "-c", command], env=environ, cwd=tmp_path
        )

    before = code()
    for each in (tmp_path / "nasjax").rglob("*.py"):
        os.utime(each, (1, 1))
    assert code() == before
    file.write_text(file.read_text().replace("a", "b", 1))
    os.utime(file, (1, 1))
    assert code() != before
