"""One side of the benchmark in its own process, which reads one command a line."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import resource
import select
import subprocess
import sys
import time
import traceback
from types import SimpleNamespace
from typing import Any

SIDES = ("ours", "peer", "compiled")  # the last is the peer under torch.compile


class SideError(Exception):
    """A side could not run a command; the message has the reason."""


class Worker:
    """A side in its own process: worker("run", "weight_step") waits for the answer."""

    def __init__(self, side: str, settings: dict, cache: str = "off"):
        command = ["-m", "benchmarks.worker", side, json.dumps(settings), cache]
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"
            },
        )

    def __call__(self, *command):
        self.ask(*command)
        return self.answer()

    def ask(self, *command) -> None:
        """Sends a command to the side; `answer` waits for its result."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # `answer` raises if it stopped
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()

    def ready(self, seconds: float) -> bool:
        """True if the answer is there after at most `seconds`."""
        return bool(select.select([self._process.stdout], [], [], max(seconds, 0))[0])

    def answer(self) -> Any:
        """The answer of the side to the last command.

        Raises:
          SideError: the command failed, or the process ended.
        """
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise SideError("A side of the benchmark stopped; its message is above.")
        found = json.loads(line)
        if "error" in found:
            raise SideError(found["error"])
        return found["answer"]

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the process."""
        self._process.kill()
        self._process.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("settings", type=json.loads)
    parser.add_argument("cache", help="folder of compiled programs, or off")
    arguments = parser.parse_args()
    answer = sys.stdout
    sys.stdout = sys.stderr  # output of libraries is no answer
    with contextlib.ExitStack() as stack:
        if arguments.side == "ours":
            from nasjax.engine.compiling import compiled_programs

            stack.enter_context(compiled_programs(arguments.cache))
        known: dict = {}
        for line in sys.stdin:
            command, *rest = json.loads(line)
            try:
                known = known or commands(arguments.side, arguments.settings)
                found = {"answer": known[command](*rest)}
            except Exception as error:
                traceback.print_exc()
                found = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(found), file=answer, flush=True)


def commands(side: str, settings: dict, **net: Any) -> dict:
    """The commands of a side: name -> function of JSON values.

    Args:
      side: one of `SIDES`.
      settings: see `benchmarks.supernet.NET`.
      net: further arguments of `Ours`.
    """
    made = SimpleNamespace(**settings)
    found = _ours(made, net) if side == "ours" else _peer(made, side == "compiled")
    return found | {"memory": _peak_bytes}


def _peak_bytes() -> int:
    """Peak memory of the process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _ours(settings, net: dict) -> dict:
    import jax

    from benchmarks import floor, kernels
    from benchmarks.ours import Ours

    if settings.products != "default":
        jax.config.update("jax_default_matmul_precision", settings.products)
    side = Ours(settings, **net)
    return {
        "parameters": lambda: side.parameters,
        "compile": side.compile,
        "planned": side.planned_bytes,
        "counted": side.counted,
        "run": side.run,
        "rates": functools.partial(floor.rates, settings.precision),
        "profile": lambda name: kernels.profile(lambda: side.run(name)),
    }


def _peer(settings, compiled: bool) -> dict:
    from benchmarks.peer import Peer

    side = Peer(settings, compiled)

    def run(name: str) -> float:
        began = time.perf_counter()
        getattr(side, name)()
        side.wait()
        return time.perf_counter() - began

    return {
        "parameters": lambda: side.parameters,
        "compile": lambda *names: sum(map(run, names)),
        "run": run,
    }


if __name__ == "__main__":
    main()
