"""The loop on a toy phase: resume is bit-exact, whatever stopped the run, and when.

Run as a script, `test_loop.py WORKDIR`, it is the program that the tests kill.
"""

import hashlib
import io
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.core.errors import UserError
from nasjax.engine import progress as progress_module
from nasjax.engine.loop import run_phase
from nasjax.engine.phase import Phase
from nasjax.engine.progress import Progress
from nasjax.engine.signals import Interrupted, signals
from nasjax.engine.workdir import RunFolder

STEPS, EPOCH, CHECKPOINT, LOG = 23, 7, 4, 3
QUIET = Progress(quiet=True)


def init():
    key = jax.random.key(0)
    return {
        "w": jax.random.normal(key, (3,)),
        "momentum": jnp.zeros(3),
        "key": key,
        "scale": 0.5,  # weakly typed, as optimisers' states can be
    }


@jax.jit
def noisy_descent(state, index):
    """Momentum on |w|^2 / 2 with noise: every later bit depends on every earlier."""
    key, used = jax.random.split(state["key"])
    grad = state["w"] + state["scale"] * jax.random.normal(used, (3,))
    momentum = 0.9 * state["momentum"] + grad
    new = {**state, "w": state["w"] - 0.1 * momentum, "momentum": momentum, "key": key}
    loss = jnp.sum(jnp.square(new["w"])) / 2
    return new, {"loss": loss, "index": index, "ratio": jnp.log(jnp.float32(0))}


def evaluate(state):
    return {"valid_accuracy": float(jnp.sum(state["w"]))}


def toy(before_step=lambda index: None, **changes):
    def step(state, index):
        before_step(index)
        return noisy_descent(state, index)

    phase = Phase("toy", STEPS, EPOCH, init, step, lambda state: None, evaluate)
    return phase._replace(**changes)


def run(folder, phase, progress=QUIET):
    with RunFolder.open(folder, {"config": 1}, {}) as run_folder:
        return run_phase(phase, run_folder, progress, CHECKPOINT, LOG)


def digest(outcome):
    state = {**outcome.state, "key": jax.random.key_data(outcome.state["key"])}
    data = b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(state))
    return hashlib.sha256(data + json.dumps(outcome.metrics).encode()).hexdigest()


def log_of(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    return digest(run(folder, toy())), log_of(folder)


def steps_saved(folder):
    return sorted(int(p.name) for p in (folder / "checkpoints" / "toy").iterdir())


def test_a_run_logs_evaluates_and_checkpoints_when_it_should(tmp_path, uninterrupted):
    outcome = run(tmp_path, toy())
    lines = log_of(tmp_path)
    assert [x["step"] for x in lines] == [3, 6, 7, 9, 12, 14, 15, 18, 21, 23]
    assert [x["epoch"] for x in lines] == [1, 1, 1, 2, 2, 2, 3, 3, 3, 4]
    evaluated = [x["step"] for x in lines if "valid_accuracy" in x]
    assert evaluated == [7, 14, 21, 23]
    assert all(x["index"] == x["step"] - 1 for x in lines), "metrics of its own step"
    assert all(x["ratio"] is None for x in lines), "minus infinity is not JSON"
    assert all(math.isfinite(x["loss"]) for x in lines)
    assert steps_saved(tmp_path) == [20, 23]
    assert outcome.metrics == {"valid_accuracy": lines[-1]["valid_accuracy"]}
    assert outcome.seconds["run"] > 0
    # The state depends on the steps alone, not on evaluation and logging.
    state = jax.tree.map(jnp.asarray, init())
    for index in range(STEPS):
        state, _ = noisy_descent(state, index)
    np.testing.assert_array_equal(outcome.state["w"], state["w"])
    assert (digest(outcome), lines) == uninterrupted


def test_a_finished_phase_returns_the_same_and_does_nothing(tmp_path, uninterrupted):
    first = run(tmp_path, toy())

    def never(*_):
        raise AssertionError

    again = run(tmp_path, toy(never, compile=never, evaluate=never))
    assert digest(again) == uninterrupted[0]
    assert again.seconds == first.seconds
    assert log_of(tmp_path) == uninterrupted[1]


def test_a_phase_without_steps_returns_its_first_state(tmp_path):
    outcome = run(tmp_path, toy(steps=0))
    np.testing.assert_array_equal(outcome.state["w"], init()["w"])
    assert outcome.metrics == {}


class Crash(Exception):
    pass


@pytest.mark.parametrize("at", range(0, STEPS, 2))
def test_a_crash_at_any_step_changes_nothing_in_the_end(tmp_path, uninterrupted, at):
    def crash(index):
        if index == at:
            raise Crash

    with pytest.raises(Crash):
        run(tmp_path, toy(crash))
    outcome = run(tmp_path, toy())
    assert (digest(outcome), log_of(tmp_path)) == uninterrupted


def test_seconds_add_up_over_restarts(tmp_path):
    def interrupt(index):
        time.sleep(0.01)
        if index == 9:
            os.kill(os.getpid(), signal.SIGTERM)

    def compile(state):
        time.sleep(0.1)

    with pytest.raises(Interrupted):
        run(tmp_path, toy(interrupt, compile=compile))
    seconds = run(tmp_path, toy(compile=compile)).seconds
    assert seconds["compile"] > 0.2
    assert seconds["run"] > 0.1


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_a_checkpoint_after_the_current_step(
    tmp_path, uninterrupted, signum
):
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]

    def interrupt(index):
        if index == 9:
            os.kill(os.getpid(), signum)

    with pytest.raises(Interrupted, match="after step 10; a checkpoint") as caught:
        run(tmp_path, toy(interrupt))
    assert (caught.value.phase, caught.value.step) == ("toy", 10)
    assert caught.value.signum == signum
    assert steps_saved(tmp_path)[-1] == 10
    after = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    assert before == after
    assert (digest(run(tmp_path, toy())), log_of(tmp_path)) == uninterrupted


def test_a_signal_during_compilation_or_between_phases_is_kept(tmp_path, uninterrupted):
    def compile(state):
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted, match="after step 0;"):
        run(tmp_path, toy(compile=compile))
    with signals() as flag:
        os.kill(os.getpid(), signal.SIGTERM)
        assert flag.signum == signal.SIGTERM
        with pytest.raises(Interrupted, match="after step 0;"):
            run(tmp_path, toy())
    assert (digest(run(tmp_path, toy())), log_of(tmp_path)) == uninterrupted


def test_a_second_ctrl_c_stops_at_once(tmp_path, uninterrupted):
    def impatient(index):
        if index == 9:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # a scheduler that repeats itself
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, toy(impatient))
    assert steps_saved(tmp_path)[-1] == 8
    assert digest(run(tmp_path, toy())) == uninterrupted[0]


def test_runs_in_a_thread_without_touching_signals(tmp_path, uninterrupted):
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def look(index):
        seen.append(signal.getsignal(signal.SIGTERM))

    results = []
    work = threading.Thread(target=lambda: results.append(run(tmp_path, toy(look))))
    work.start()
    work.join()
    assert digest(results[0]) == uninterrupted[0]
    assert set(seen) == {before}


@pytest.mark.parametrize("name", ["loss", "train_loss"])
@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_broken_loss_stops_the_run_with_its_step(tmp_path, name, value):
    def step(state, index):
        state, metrics = noisy_descent(state, index)
        loss = jnp.where(index == 9, value, 0.1)  # step 10 of 23: no line is due
        return state, {**metrics, name: loss}

    for _ in range(2):  # the same again when repeated
        with pytest.raises(UserError) as error:
            run(tmp_path, toy(step=step))
        text = str(error.value)
        assert f"{name} became {value} at step 10 of phase toy" in text
        assert str(tmp_path / "checkpoints" / "toy" / "8") in text
        assert "learning rate" in text
        assert steps_saved(tmp_path)[-1] == 8
        assert log_of(tmp_path)[-1]["step"] == 9


def test_a_broken_validation_loss_stops_the_run(tmp_path):
    with pytest.raises(UserError, match="valid_loss became nan at step 7 "):
        run(tmp_path, toy(evaluate=lambda state: {"valid_loss": math.nan}))
    assert steps_saved(tmp_path) == [4]


def test_a_broken_state_is_never_saved(tmp_path):
    def step(state, index):
        state, metrics = noisy_descent(state, index)
        bad = jnp.where(index == 1, jnp.nan, state["momentum"])
        return {**state, "momentum": bad}, {"loss": jnp.float32(1)}

    with pytest.raises(
        UserError, match=r"momentum'\] was not finite at step 4 .*no ch"
    ):
        run(tmp_path, toy(step=step))
    assert not (tmp_path / "checkpoints").exists()


def test_a_torn_checkpoint_is_refused_and_nothing_overwritten(tmp_path):
    run(tmp_path, toy())
    (tmp_path / "checkpoints" / "toy" / "23" / "record" / "metadata").write_text("{")
    kept = log_of(tmp_path)
    with pytest.raises(UserError, match=r"toy/23 is torn .* resume from step 20"):
        run(tmp_path, toy())
    assert log_of(tmp_path) == kept
    assert steps_saved(tmp_path) == [20, 23]


def test_intervals_below_one_are_refused(tmp_path):
    with (
        RunFolder.open(tmp_path, {}, {}) as folder,
        pytest.raises(UserError, match="1 or more"),
    ):
        run_phase(toy(), folder, QUIET, checkpoint_every=0, log_every=1)


# The same tests with real processes that are killed.


def main(folder):
    """Sleeps in each step, to spend most of its time in the loop."""
    try:
        outcome = run(folder, toy(lambda index: time.sleep(0.08)), Progress())
    except Interrupted as error:
        sys.exit(128 + error.signum)
    with RunFolder.open(folder, {"config": 1}, {}) as run_folder:
        run_folder.write_outcome("result", {"digest": digest(outcome)})


def spawn(folder):
    root = str(Path(__file__).parents[2])
    paths = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    compiled_alike = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}  # as in conftest.py
    return subprocess.Popen(
        [sys.executable, "-W", "error", __file__, str(folder)],
        env={**os.environ, **compiled_alike, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_kill_9_at_random_moments_changes_no_bit(tmp_path, uninterrupted):
    kills = [(signal.SIGKILL, True), (signal.SIGKILL, False), (signal.SIGTERM, True)]
    for signum, in_the_loop in kills:
        process = spawn(tmp_path)
        if in_the_loop:
            while "compiled" not in process.stdout.readline():
                assert process.poll() is None, process.stderr.read()
        time.sleep(random.uniform(0, 0.4 if in_the_loop else 1.5))
        process.send_signal(signum)
        _, errors = process.communicate(timeout=60)
        expected = -signum if signum == signal.SIGKILL else 128 + signum
        assert process.returncode == expected
        assert re.fullmatch(r"(SIGTERM: stopping after .*\.\n)?", errors)
    process = spawn(tmp_path)
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    assert "toy epoch 4/4  0:0" in output
    result = json.loads((tmp_path / "result.json").read_text())
    assert (result["digest"], log_of(tmp_path)) == uninterrupted
    started = json.loads((tmp_path / "manifest.json").read_text())["started"]
    assert len(started) >= 4


# The display.


def test_plain_lines_without_a_terminal(tmp_path, monkeypatch):
    monkeypatch.setattr(progress_module, "PAUSE", 0.0)
    stream = io.StringIO()
    shown = lambda metrics: [f"accuracy {metrics.get('valid_accuracy', '-')}"]
    run(tmp_path, toy(words=shown), Progress(stream))
    lines = stream.getvalue().splitlines()
    assert lines[0] == "toy: compiling"
    assert lines[1].startswith("toy: compiled in ")
    assert lines[2].startswith("toy epoch 1/4, step 3/23  accuracy -  0:0")
    assert lines[2].endswith(" left")
    value = log_of(tmp_path)[-1]["valid_accuracy"]
    assert lines[-1].startswith(f"toy epoch 4/4  accuracy {value}  0:0")
    assert len(lines) == 2 + len(log_of(tmp_path))
    assert stream.getvalue().replace("\n", "").isprintable()


def test_a_remark_is_made_once_when_an_epoch_ends(tmp_path):
    seen = []

    def remark(metrics):
        seen.append(metrics["valid_accuracy"])  # only the lines that end an epoch
        return f"remark {len(seen)}" if len(seen) > 1 else None

    stream = io.StringIO()
    run(tmp_path, toy(remark=remark), Progress(stream))
    said = [line for line in stream.getvalue().splitlines() if "remark" in line]
    assert said == ["toy: remark 2"] and len(seen) == 2


def test_lines_that_follow_each_other_fast_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(progress_module, "PAUSE", 1e9)
    stream = io.StringIO()
    run(tmp_path, toy(), Progress(stream))
    shown = [line.split("  ")[0] for line in stream.getvalue().splitlines()[2:]]
    assert shown == ["toy epoch 1/4, step 3/23", "toy epoch 4/4"]  # the log has all
    assert len(log_of(tmp_path)) > 5


def test_a_bar_with_time_left_on_a_terminal(tmp_path, monkeypatch, new_threads):
    monkeypatch.setattr(progress_module, "PAUSE", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = io.StringIO()
    stream.isatty = lambda: True
    with Progress(stream) as progress:
        run(tmp_path, toy(), progress)
        progress.line("the end [red] :smile:")
    text = stream.getvalue()
    assert "━" in text
    assert "23/23" in text
    assert "0:00:00" in text
    assert "toy epoch 1/4\n" in text.replace("\x1b[2K", "")
    assert "\x1b[?25h" in text, "the cursor is shown again"
    assert text.endswith("the end [red] :smile:\n")
    deadline = time.monotonic() + 10
    while new_threads() and time.monotonic() < deadline:
        time.sleep(0.1)  # a thread of the checkpoint may be about to end
    assert not new_threads()


def test_a_spinner_with_the_time_while_programs_compile(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = io.StringIO()
    stream.isatty = lambda: True
    times, last = Counter(), time.monotonic() + 60
    with Progress(stream).waiting("toy: compiling"):  # it turns by itself
        while not (len(times) > 1 and max(times.values()) > 5):
            assert time.monotonic() < last, f"in no second it turned often: {times}"
            time.sleep(0.1)  # on a busy machine only some seconds may be smooth
            shown = r"toy: compiling.*?(0:\d\d:\d\d)"
            times = Counter(re.findall(shown, stream.getvalue()))
    text = stream.getvalue()
    assert "0:00:00" in times
    assert len(set(text) & set("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")) > 2
    assert text.rstrip("\n").endswith("\x1b[2K"), "nothing is left of it"


def test_a_line_now_and_then_without_a_terminal(monkeypatch, new_threads):
    monkeypatch.setattr(progress_module, "PATIENCE", 0.05)
    stream = io.StringIO()
    for announced in (True, False):
        stream.truncate(stream.seek(0))
        with Progress(stream).waiting("toy: compiling", announced):
            until = time.monotonic() + 30
            while stream.getvalue().count("\n") < 3 and time.monotonic() < until:
                time.sleep(0.01)
        lines = stream.getvalue().splitlines()
        assert (lines[0] == "toy: compiling") == announced
        assert lines[-1].startswith("toy: compiling, for 0:0")
    assert not new_threads()
    with Progress(quiet=True).waiting("toy: compiling"):
        assert not new_threads()


def test_a_dumb_terminal_and_a_quiet_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TERM", "dumb")
    stream = io.StringIO()
    stream.isatty = lambda: True
    run(tmp_path / "dumb", toy(), Progress(stream))
    assert "\x1b" not in stream.getvalue()
    run(tmp_path / "quiet", toy(), Progress(quiet=True))
    assert capsys.readouterr() == ("", "")


def test_tensorboard_events_if_it_is_installed(tmp_path):
    pytest.importorskip("tensorboardX")
    run(tmp_path, toy(), Progress(quiet=True, tensorboard=tmp_path / "tensorboard"))
    (events,) = (tmp_path / "tensorboard" / "toy").iterdir()
    data = events.read_bytes()
    assert data.count(b"valid_accuracy") == 4
    assert data.count(b"loss") == len(log_of(tmp_path))


def test_no_tensorboard_events_if_it_is_not(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    run(tmp_path, toy(), Progress(quiet=True, tensorboard=tmp_path / "tensorboard"))
    assert not (tmp_path / "tensorboard").exists()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
