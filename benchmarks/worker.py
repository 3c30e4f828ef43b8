"""One side of the benchmark in a process of its own, told what to do line by line."""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import sys
import time
from types import SimpleNamespace


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=("ours", "peer"))
    parser.add_argument("settings", type=json.loads)
    parser.add_argument("cache", help="folder of compiled programs, or off")
    arguments = parser.parse_args()
    settings = SimpleNamespace(**arguments.settings)
    answer = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints is not an answer
    with contextlib.ExitStack() as stack:
        if arguments.side == "ours":
            from nasjax.compiling import compiled_programs

            stack.enter_context(compiled_programs(arguments.cache))
            commands = _ours(settings)
        else:
            commands = _peer(settings)
        commands["memory"] = _peak_bytes
        for line in sys.stdin:
            command, *rest = json.loads(line)
            print(json.dumps(commands[command](*rest)), file=answer, flush=True)


def _peak_bytes() -> int:
    """Of the process so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _ours(settings) -> dict:
    from benchmarks.ours import Ours

    side = Ours(settings)
    return {
        "parameters": lambda: side.parameters,
        "compile": side.compile,
        "planned": side.planned_bytes,
        "run": side.run,
    }


def _peer(settings) -> dict:
    from benchmarks.peer import Peer

    side = Peer(settings)

    def run(name: str) -> float:
        began = time.perf_counter()
        getattr(side, name)()
        return time.perf_counter() - began

    return {
        "parameters": lambda: side.parameters,
        "run": run,
    }


if __name__ == "__main__":
    main()
