"""Time and memory of the supernet's steps beside a plain PyTorch peer.

    pip install -e '.[bench]'
    python -m benchmarks.supernet --json supernet.json

Both sides live in processes of their own and take turns, step by step, so that what
else the machine does hits both; ratios are of medians. Compile times are cold, in a
fresh process; "cached" is what a second start takes for the same programs. Memory is
the peak of the whole process, interpreter and compilation included, then of one that
finds its programs in the cache; "planned" is what XLA allots to the step itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

COMPARED = ("weight_step", "first_order", "second_order")
ALONE = ("mgs", "retrain")
GROUPS = {  # programs that are compiled together
    "weight_and_first_order": ("weight_step", "first_order"),
    "second_order": ("second_order",),
    "mgs": ("mgs",),
    "retrain": ("retrain",),
}
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
}
_HELP = {
    "channels": "C of the first cell",
    "size": "side of the images",
    "samples": "candidates of a ZARTS-MGS step",
    "inner_steps": "weight steps of each candidate",
    "chunk": "candidates at once, 0 for all",
}


def main() -> None:
    arguments = _arguments()
    report = measure(arguments)
    _print(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def measure(arguments: argparse.Namespace) -> dict:
    """Runs both sides; returns what `--json` writes."""
    net = {name: getattr(arguments, name) for name in NET}
    report: dict = {"settings": net, "machine": machine(), "versions": versions()}
    seconds: dict[str, dict[str, list[float]]] = {}
    compiling, planned = {}, {}
    with tempfile.TemporaryDirectory() as cache:
        with Worker("ours", net, cache) as ours, Worker("peer", net) as peer:
            report["parameters"] = {
                "ours": ours("parameters"),
                "peer": peer("parameters"),
            }
            for group in ("weight_and_first_order", "second_order"):
                compiling[group] = ours("compile", *GROUPS[group])
            for name in COMPARED:
                ours("run", name)  # not counted: touches memory for the first time
                peer("run", name)
                sides = {"ours": ours, "peer": peer}
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
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            sys.exit("A side of the benchmark stopped; its message is above.")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error) -> None:
        self._process.kill()
        self._process.wait()


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
        "--quick", action="store_true", help="only what is compared with the peer"
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


def versions() -> dict:
    names = ("jax", "jaxlib", "flax", "nasjax", "torch")
    return {name: version(name) for name in names} | {
        "python": platform.python_version()
    }


def _print(report: dict) -> None:
    settings = report["settings"]
    table = Table(title=", ".join(f"{k} {v}" for k, v in settings.items()))
    for column in ("step", "ours, s", "PyTorch, s", "ours / PyTorch", "planned, MB"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for name, sides in report["seconds"].items():
        medians = list(sides.values())
        ratio = report["ratios"].get(name)
        table.add_row(
            name.replace("_", " "),
            f"{medians[0]:.3f}",
            f"{medians[1]:.3f}" if ratio else "",
            f"{ratio:.2f}" if ratio else "",
            f"{report['planned_bytes'][name] / 1e6:.0f}",
        )
    memory = report["memory_bytes"]
    for side, label in (("ours", "compiling"), ("ours_cached", "from the cache")):
        table.add_row(
            f"peak memory, GB ({label})",
            f"{memory[side] / 1e9:.2f}",
            f"{memory['peer'] / 1e9:.2f}",
            f"{memory[side] / memory['peer']:.2f}",
            "",
        )
    console = Console()
    console.print(table)
    for name, value in report["compile_seconds"].items():
        unit = "" if "over" in name else " s"
        console.print(f"compile, {name.replace('_', ' ')}: {value:.1f}{unit}")
    console.print(f"parameters: {report['parameters']}")


if __name__ == "__main__":
    main()
