"""Signals are answered at once, also while the main thread is in C code.

Run as a script, `test_signals.py CASE`, it is the program that gets the signals.
"""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import pytest

from nasjax.engine import signals
from nasjax.engine.beside import leave
from nasjax.engine.loop import run_phase
from nasjax.engine.phase import Phase
from nasjax.engine.program import execute
from nasjax.engine.progress import Progress
from nasjax.engine.workdir import RunFolder

COMMAND = "nasjax run --config=mine"


def in_c_code(seconds):
    """Keeps the main thread in C code that no signal interrupts."""
    print("begun", flush=True)
    once = 10**5
    begun = time.perf_counter()
    hashlib.pbkdf2_hmac("sha256", b"", b"", once)
    rounds = int(seconds / (time.perf_counter() - begun) * once)
    hashlib.pbkdf2_hmac("sha256", b"", b"", rounds)


def phase(compiling=0.0, stepping=0.0):
    def step(state, index):
        if stepping:
            in_c_code(stepping)
        return state, {"loss": jnp.float32(1)}

    def compile(state):
        if compiling:
            with signals.doing(signals.COMPILATION):
                in_c_code(compiling)

    init = lambda: {"w": jnp.zeros(())}
    return Phase("toy", 10**6, 10**6, init, step, compile, lambda state: {})


def run(own, folder):
    with (
        signals.signals(COMMAND),
        signals.signals("of a nested context"),
        RunFolder.open(folder, {"config": 1}, {}) as run_folder,
    ):
        run_phase(own, run_folder, Progress(), 10**6, 10**6)


def children():
    """Processes that fork in a run: Ctrl-C asks them to stop, SIGTERM ends them."""
    ended = lambda child: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with signals.signals():
        for signum, code in ((signal.SIGINT, 0), (signal.SIGTERM, -signal.SIGTERM)):
            child = os.fork()
            if not child:
                os.kill(os.getpid(), signum)
                os._exit(0)
            assert ended(child) == code
        child = os.fork()
        if child:
            print("begun", flush=True)
            time.sleep(2)  # longer than GRACE
    if not child:  # it has left the context, as its parent has
        os._exit(0)
    assert ended(child) == 0


def as_command(action):
    leave(lambda: execute("nasjax run", lambda argv: action() or 0, []))


def main(case, folder):
    signals.GRACE = 1.0
    # The parent of the tests may ignore it, and children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    long = lambda: run(phase(compiling=90), folder)
    if case == "command":
        as_command(long)
    elif case == "library":
        run(phase(compiling=3), folder)
    elif case == "children":
        as_command(children)
    elif case == "step":
        as_command(lambda: run(phase(stepping=3), folder))
    elif case == "no checkpoints":
        as_command(lambda: in_c_code(90))
    elif case == "handler of the user":
        signal.signal(signal.SIGINT, lambda *given: print("mine", flush=True))
        as_command(lambda: in_c_code(2))


class Started:
    """The script, of which the lines of standard error are read as they come."""

    def __init__(self, case, folder):
        paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        self.errors = folder.with_name("errors")
        with open(self.errors, "w") as errors:
            self.process = subprocess.Popen(
                [sys.executable, __file__, case, str(folder)],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
        while self.process.stdout.readline() != "begun\n":
            assert self.process.poll() is None, self.said()
        time.sleep(0.3)

    def said(self):
        return self.errors.read_text()

    def send(self, signum, expected):
        """Sends a signal; waits for the text on standard error."""
        self.process.send_signal(signum)
        until = time.monotonic() + 30
        while expected not in self.said():
            assert time.monotonic() < until, self.said()
            time.sleep(0.02)

    def end(self):
        code = self.process.wait(80)
        said = self.said()
        assert "Traceback" not in said and "Fatal" not in said, said
        return code, said


@pytest.fixture
def start(tmp_path):
    begun = []

    def started(case):
        begun.append(Started(case, tmp_path / "run"))
        return begun[-1]

    yield started
    for each in begun:
        each.process.kill()
        each.process.communicate()


def test_ctrl_c_during_a_compilation_and_a_second_one(start):
    own = start("command")
    own.send(signal.SIGINT, "Stopping after the compilation that runs; press Ctrl-C ag")
    assert own.process.poll() is None
    begun = time.monotonic()
    own.process.send_signal(signal.SIGINT)
    code, said = own.end()
    assert code == 130 and time.monotonic() - begun < 30
    assert f"same command resumes from the last checkpoint:\n  {COMMAND}\n" in said


def test_sigterm_during_a_compilation_ends_in_time(start):
    own = start("command")
    own.send(signal.SIGTERM, "SIGTERM: stopping after the compilation that runs, or in")
    own.process.send_signal(signal.SIGTERM)  # a scheduler that repeats itself
    begun = time.monotonic()
    code, said = own.end()
    assert code == 143 and time.monotonic() - begun < 30
    assert said.count("stopping") == 1 and f"\n  {COMMAND}\n" in said


def test_a_step_is_waited_for(start, tmp_path):
    """The limit on SIGTERM is for compilations: a checkpoint of the step is worth it."""
    own = start("step")
    own.send(signal.SIGTERM, "SIGTERM: stopping after the step that runs.\n")
    code, said = own.end()
    assert code == 143 and "after step 1; a checkpoint was written" in said
    assert (tmp_path / "run" / "checkpoints" / "toy" / "1").is_dir()


def test_a_command_without_checkpoints_ends_on_the_first(start):
    own = start("no checkpoints")
    own.process.send_signal(signal.SIGINT)
    code, said = own.end()
    assert (code, said) == (130, "Stopped.\n")


def test_a_program_of_the_user_gets_exceptions(start):
    """Its process is not ended: a notebook would lose its variables."""
    own = start("library")
    own.send(signal.SIGINT, "Stopping after the compilation that runs")
    own.process.send_signal(signal.SIGINT)
    own.process.wait(80)
    assert "again to stop without a checkpoint.\n" in own.said()
    assert own.said().endswith("\nKeyboardInterrupt\n")


def test_sigterm_does_not_end_a_program_of_the_user(start):
    own = start("library")
    own.send(signal.SIGTERM, "SIGTERM: stopping after the compilation that runs.\n")
    own.process.wait(80)
    assert (
        "Interrupted: SIGTERM stopped the run in phase toy after step 0" in own.said()
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows")
def test_the_signals_of_a_forked_child_are_its_own(start):
    own = start("children")
    code, said = own.end()
    assert code == 0 and "topping" not in said, said  # JAX warns of forks


@pytest.fixture
def wakeup():
    """(received, descriptor) of an event loop."""
    ours, its = socket.socketpair()
    its.setblocking(False)
    ours.settimeout(10)
    before = signal.set_wakeup_fd(its.fileno())
    yield ours, its.fileno()
    signal.set_wakeup_fd(before)
    ours.close()
    its.close()


def test_an_event_loop_still_gets_its_signals(wakeup):
    received, descriptor = wakeup
    caught = []
    before = signal.signal(signal.SIGUSR1, lambda *given: caught.append(given))
    try:
        with signals.signals() as flag:
            for signum in (signal.SIGUSR1, signal.SIGTERM):
                os.kill(os.getpid(), signum)
                assert received.recv(1) == bytes([signum])
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert flag.signum == signal.SIGTERM and len(caught) == 1
    assert signal.set_wakeup_fd(-1) == descriptor


def test_other_handlers_are_left_alone(start):
    own = start("handler of the user")
    own.process.send_signal(signal.SIGINT)
    out, _ = own.process.communicate(timeout=80)
    assert own.process.returncode == 0 and out.endswith("mine\n")


def test_everything_is_restored(new_threads):
    before = signal.set_wakeup_fd(-1)
    handlers = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    for _ in range(3):
        with signals.watched(command=True), signals.signals() as flag:
            with signals.signals() as inner, signals.doing("x"):
                assert inner is flag
                os.kill(os.getpid(), signal.SIGTERM)
            assert flag.signum == signal.SIGTERM
            assert signal.getsignal(signal.SIGINT) is flag
    assert signal.set_wakeup_fd(before) == -1
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert not new_threads()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
