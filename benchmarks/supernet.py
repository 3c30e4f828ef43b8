"""Time and memory of the supernet's steps, next to a plain PyTorch peer.

    pip install -e '.[bench]'
    python -m benchmarks.supernet --json supernet.json

Both sides have their own process and take turns, step by step: other load of the
machine affects both. Ratios are ratios of medians. Compile times are cold, in a fresh
process; "cached" is the time of a second start for the same programs. Memory is the
peak of the process, including interpreter and compilation; then of a process that finds
its programs in the cache. "planned" is the memory that XLA plans for the step.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.record import versions, without_paths
from benchmarks.worker import SideError, Worker

COMPARED = ("weight_step", "first_order", "second_order")
ALONE = ("mgs", "retrain")
GROUPS = {  # programs that are compiled together
    "weight_and_first_order": ("weight_step", "first_order"),
    "second_order": ("second_order",),
    "mgs": ("mgs",),
    "retrain": ("retrain",),
}
TOGETHER = ("weight_and_first_order", "second_order")  # of the compared steps
DEEP = 20  # cells of the deep net whose compile time is compared
NET = {
    "channels": 16,
    "cells": 8,
    "batch": 16,
    "size": 32,
    "classes": 10,
    "samples": 4,
    "inner_steps": 10,
    "chunk": 0,
    "lowering": "auto",
    "remat": "auto",
    "precision": "float32",
    "products": "default",
}
_HELP = {
    "channels": "C of the first cell",
    "size": "side of the images",
    "samples": "candidates of a ZARTS-MGS step",
    "inner_steps": "weight steps of each candidate",
    "chunk": "candidates evaluated at once, 0 for all",
    "products": "precision of matrix products, default or highest",
}


def main() -> None:
    arguments = _arguments()
    try:
        report = measure(arguments)
    except SideError as error:
        sys.exit(str(error))
    _print(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def measure(arguments: argparse.Namespace) -> dict:
    """Runs both sides; returns the report, the content of `--json`."""
    net = {name: getattr(arguments, name) for name in NET}
    report: dict = {"settings": net, "machine": machine(), "versions": versions()}
    seconds: dict[str, dict[str, list[float]]] = {}
    compiling, planned = {}, {}
    with tempfile.TemporaryDirectory() as cache:
        with contextlib.ExitStack() as stack:
            ours = stack.enter_context(Worker("ours", net, cache))
            peer = stack.enter_context(Worker("peer", net))
            sides = {"ours": ours, "peer": peer}
            report["parameters"] = {
                side: worker("parameters") for side, worker in sides.items()
            }
            for group in TOGETHER:
                compiling[group] = ours("compile", *GROUPS[group])
            if not arguments.eager:
                compiled = stack.enter_context(Worker("compiled", net))
                try:
                    for group in TOGETHER:
                        own = compiled("compile", *GROUPS[group])
                        compiling[f"torch.compile, {group}"] = own
                    sides["compiled"] = compiled
                except SideError as error:
                    why = without_paths(str(error)).splitlines()[0]
                    report["torch.compile"] = f"It does not work here: {why}"
            for name in COMPARED:
                for worker in sides.values():
                    worker("run", name)  # not counted: touches memory
                seconds[name] = {side: [] for side in sides}
                for _ in range(arguments.repeats):
                    for side, worker in sides.items():
                        seconds[name][side].append(worker("run", name))
                planned[name] = ours("planned", name)
            memory = {"ours": ours("memory"), "peer": peer("memory")}
        with Worker("ours", net, cache) as ours:  # as the second start of a run
            compiling["cached"] = ours("compile", *COMPARED)
            for name in COMPARED:
                ours("run", name)
            memory["ours_cached"] = ours("memory")
    for name in () if arguments.quick else ALONE:
        with Worker("ours", net) as ours:
            compiling[name] = ours("compile", *GROUPS[name])
            ours("run", name)
            runs = [ours("run", name) for _ in range(arguments.repeats)]
            seconds[name] = {"ours": runs}
            planned[name] = ours("planned", name)
    if not arguments.quick and net["cells"] < DEEP:
        took = {}
        for cells in (net["cells"], DEEP):
            with Worker("ours", net | {"cells": cells}) as ours:
                took[cells] = ours("compile", *GROUPS["weight_and_first_order"])
        ratio = took[DEEP] / took[net["cells"]]
        compiling[f"cells_{DEEP}_over_{net['cells']}"] = ratio
    medians = {
        name: {side: statistics.median(runs) for side, runs in sides.items()}
        for name, sides in seconds.items()
    }
    ratios = {name: medians[name]["ours"] / medians[name]["peer"] for name in COMPARED}
    for name in COMPARED:
        if "compiled" in medians[name]:
            ratio = medians[name]["ours"] / medians[name]["compiled"]
            ratios[f"{name} (torch.compile)"] = ratio
    return report | {
        "seconds": medians,
        "runs": seconds,
        "compile_seconds": compiling,
        "memory_bytes": memory,
        "planned_bytes": planned,
        "ratios": ratios
        | {
            "memory": memory["ours"] / memory["peer"],
            "memory_cached": memory["ours_cached"] / memory["peer"],
        },
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in NET.items():
        flag = "--" + name.replace("_", "-")
        parser.add_argument(
            flag,
            type=type(value),
            default=value,
            help=f"{_HELP.get(name, '')} ({value})",
        )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the report to this file")
    parser.add_argument(
        "--eager", action="store_true", help="without PyTorch under torch.compile"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only the steps that are compared with the peer",
    )
    return parser.parse_args()


def machine() -> dict:
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if "model name" in line]
        name = names[0] if names else name
    return {"cpu": name, "cores": os.cpu_count(), "system": platform.platform()}


def _print(report: dict) -> None:
    settings = report["settings"]
    table = Table(title=", ".join(f"{k} {v}" for k, v in settings.items()))
    sides = ("ours", "peer", "compiled")
    for column in (
        "step", "ours, s", "PyTorch, s", "torch.compile, s", "ours / PyTorch",
        "ours / torch.compile", "planned, MB",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "step" else "right")
    for name, medians in report["seconds"].items():
        ratios = (
            report["ratios"].get(f"{name}{of}") for of in ("", " (torch.compile)")
        )
        table.add_row(
            name.replace("_", " "),
            *(f"{medians[side]:.3f}" if side in medians else "" for side in sides),
            *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
            f"{report['planned_bytes'][name] / 1e6:.0f}",
        )
    memory = report["memory_bytes"]
    for side, label in (("ours", "compiling"), ("ours_cached", "from the cache")):
        table.add_row(
            f"peak memory, GB ({label})",
            f"{memory[side] / 1e9:.2f}",
            f"{memory['peer'] / 1e9:.2f}",
            "",
            f"{memory[side] / memory['peer']:.2f}",
        )
    console = Console()
    console.print(table)
    for name, value in report["compile_seconds"].items():
        unit = "" if "over" in name else " s"
        console.print(f"compile, {name.replace('_', ' ')}: {value:.1f}{unit}")
    console.print(report.get("torch.compile", ""))
    console.print(f"parameters: {report['parameters']}")


if __name__ == "__main__":
    main()
