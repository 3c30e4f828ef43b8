"""The growth of time, compilation and memory with the size of a search.

    python -m benchmarks.growth --json results/performance/growth.json
    python -m benchmarks.growth --json results/performance/growth.json --plot docs/growth.png

One setting is changed at a time. The file is written after each measurement; the same
command resumes after the last one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from types import SimpleNamespace

from benchmarks import floor
from benchmarks.supernet import GROUPS, NET, machine, versions
from benchmarks.worker import Worker

SWEEPS = {  # setting: (its values, the measured steps, other settings)
    "cells": ((2, 8, 20), "weight_and_first_order", {}),
    "channels": ((8, 16, 36), "weight_and_first_order", {"cells": 2}),
    "batch": ((8, 16, 64), "weight_and_first_order", {"cells": 2}),
    "samples": ((1, 4, 8), "mgs", {"cells": 2, "batch": 8, "inner_steps": 4}),
    "inner_steps": ((1, 4, 10), "mgs", {"cells": 2, "batch": 8}),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--plot", type=Path, help="draw the content of the --json file")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if arguments.plot:
        plot(json.loads(arguments.json.read_text()), arguments.plot)
        return
    here = {"machine": machine(), "versions": versions()}
    if arguments.json.exists():
        report = json.loads(arguments.json.read_text())
        if any(report[name] != value for name, value in here.items()):
            sys.exit(
                f"{arguments.json} was begun on another machine or with other versions; "
                "remove it, or give another file with --json."
            )
    else:
        report = here | {"rates": floor.rates(), "sweeps": {}}
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    for name, (values, group, rest) in SWEEPS.items():
        rows = report["sweeps"].setdefault(name, [])
        for value in values[len(rows) :]:
            net = NET | rest | {name: value}
            rows.append(_measure(net, group, report["rates"], arguments.repeats))
            arguments.json.write_text(json.dumps(report, indent=2) + "\n")
            print(name, value, json.dumps(rows[-1]["seconds"]), flush=True)


def _measure(net: dict, group: str, rates: dict, repeats: int) -> dict:
    with Worker("ours", net) as ours:
        compiling = ours("compile", *GROUPS[group])
        seconds, planned = {}, {}
        for step in GROUPS[group]:
            ours("run", step)  # touches memory, not counted
            seconds[step] = statistics.median(ours("run", step) for _ in range(repeats))
            planned[step] = ours("planned", step)
        peak = ours("memory")
    floors = floor.seconds(SimpleNamespace(**net), rates)
    return {
        "settings": net,
        "seconds": seconds,
        "compile_seconds": compiling,
        "planned_bytes": planned,
        "peak_bytes": peak,
        "floor_seconds": {step: floors[step] for step in GROUPS[group]},
    }


def plot(report: dict, file: Path) -> None:
    """Step time with its floor, compile time and memory, against each setting."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sweeps = report["sweeps"]
    figure, axes = plt.subplots(
        3, len(sweeps), figsize=(3.1 * len(sweeps), 7.5), layout="constrained"
    )
    for column, (name, rows) in zip(axes.T, sweeps.items(), strict=True):
        values = [row["settings"][name] for row in rows]
        for index, step in enumerate(rows[0]["seconds"]):
            colour = f"C{index}"
            label = step.replace("_", " ")
            times = [row["seconds"][step] for row in rows]
            bound = [max(row["floor_seconds"][step].values()) for row in rows]
            column[0].plot(values, times, "o-", color=colour, label=label)
            column[0].plot(values, bound, ":", color=colour, label="its floor")
            planned = [row["planned_bytes"][step] / 1e6 for row in rows]
            column[2].plot(values, planned, "o-", color=colour, label=label)
        column[1].plot(values, [row["compile_seconds"] for row in rows], "o-k")
        for axis in column:
            axis.set_ylim(0, 1.05 * axis.get_ylim()[1])
            axis.set_xticks(values)
            axis.spines[["top", "right"]].set_visible(False)
        column[2].set_xlabel(name.replace("_", " "))
        column[0].legend(frameon=False, fontsize=8)
    axes[0, 0].set_ylabel("seconds a step")
    axes[1, 0].set_ylabel("seconds to compile")
    axes[2, 0].set_ylabel("MB planned for a step")
    figure.savefig(file, dpi=130)


if __name__ == "__main__":
    main()
