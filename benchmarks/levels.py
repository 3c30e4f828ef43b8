"""The cost of SANAS' four levels against DARTS of second order.

    python -m benchmarks.levels --json results/performance/levels.json

The steps take turns in one process. The table has their median seconds, and the cost
that each step states, in evaluations of one batch's gradient. A mini-batch takes one
weight step, and the other steps at the paper's frequency: alpha moves on every batch in
DARTS and on every fifth in SANAS, the second network of SANAS on every third.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from types import SimpleNamespace

from benchmarks.ours import Ours
from benchmarks.supernet import NET, machine, versions
from nasjax.analysis.commands import table

STEPS = ("weight_step", "second_order", "sanas", "second_network")
PER_BATCH = {
    "darts_second": {"weight_step": 1, "second_order": 1},
    "sanas": {"weight_step": 1, "sanas": 1 / 5, "second_network": 1 / 3},
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("channels", "cells", "batch", "size"):
        parser.add_argument(f"--{name}", type=int, default=NET[name])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    arguments = parser.parse_args()
    given = {k: v for k, v in vars(arguments).items() if k in NET}
    ours = Ours(SimpleNamespace(**NET | given))
    compiling = {name: ours.compile(name) for name in STEPS}
    runs: dict[str, list[float]] = {name: [] for name in STEPS}
    for name in STEPS:
        ours.run(name)  # touches memory for the first time
    for _ in range(arguments.repeats):
        for name in STEPS:
            runs[name].append(ours.run(name))
    seconds = {name: statistics.median(own) for name, own in runs.items()}
    rows = {
        name: {
            "stated": ours.stated[name],
            "seconds": seconds[name],
            "in_weight_steps": seconds[name] / seconds["weight_step"],
            "compile_seconds": compiling[name],
            "planned_mb": ours.planned_bytes(name) / 1e6,
        }
        for name in STEPS
    }
    batch = {
        search: {
            "stated": sum(n * ours.stated[name] for name, n in counts.items()),
            "seconds": sum(n * seconds[name] for name, n in counts.items()),
        }
        for search, counts in PER_BATCH.items()
    }
    for what, found in (("step", rows), ("a mini-batch of", batch)):
        lines = [[name, *own.values()] for name, own in found.items()]
        print(table([what, *found["sanas"]], lines))
    if arguments.json:
        report = {
            "settings": NET | given, "machine": machine(), "versions": versions(),
            "steps": rows, "mini_batch": batch, "runs": runs,
        }  # fmt: skip
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
