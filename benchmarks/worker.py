"""One side of the benchmark in a process of its own, told what to do line by line."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from types import SimpleNamespace


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=("ours", "peer"))
    parser.add_argument("settings", type=json.loads)
    arguments = parser.parse_args()
    settings = SimpleNamespace(**arguments.settings)
    answer = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints is not an answer
    commands = _ours(settings) if arguments.side == "ours" else _peer(settings)
    commands["memory"] = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for line in sys.stdin:
        command, *rest = json.loads(line)
        print(json.dumps(commands[command](*rest)), file=answer, flush=True)


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
