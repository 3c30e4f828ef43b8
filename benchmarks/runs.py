"""The program itself, as its users start it: the default run, and real searches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.record import Record, without_paths

ROOT = Path(__file__).parents[1]
TELLING = ("memory of a step", "compiled in", "test accuracy", "s compiling")
SHRUNK = {  # settings of the default run, if dry
    "devices": 1, "space.primitives": ("skip_connect", "max_pool_3x3"), "search.cells": 1,
    "search.channels": 2, "search.epochs": 2, "search.warmup_epochs": 1,
    "arch.zarts_mgs.samples": 2, "arch.zarts_mgs.inner_steps": 1, "retrain.epochs": 0,
}  # fmt: skip
SEARCHES = {"darts_first": {}, "zarts_mgs": {"search.warmup_epochs": 1}}
NARROW = {"search.channels": 2, "search.cells": 3, "search.batch": 8}


class Failed(Exception):
    """A run ended with an error; the message is the end of its output."""


class Run:
    """A run in its own folder, which can be started repeatedly."""

    def __init__(self, place: Path, config: str, fields: dict[str, Any]):
        self.folder = place / "run"
        self._place, self._output = place, place / "output"
        cache = (
            place.parent / "programs"
        )  # a second start finds the programs of the first
        fields = {"compile_cache": cache, **fields}
        self._command = [
            sys.executable, "-m", "nasjax.main", f"--config=configs/{config}",
            f"--workdir={self.folder}",
            *(f"--config.{name}={value}" for name, value in fields.items()),
        ]  # fmt: skip

    def start(self) -> subprocess.Popen:
        """Starts or resumes the run."""
        self._place.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        environment.pop("XLA_PYTHON_CLIENT_PREALLOCATE", None)  # as users start it
        with open(self._output, "w") as output:
            return subprocess.Popen(
                self._command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def said(self) -> list[str]:
        """The informative lines of the output of the last start."""
        lines = without_paths(self._output.read_text()).splitlines()
        return [line for line in lines if any(word in line for word in TELLING)]

    def finish(self, process: subprocess.Popen, seconds: float) -> dict[str, Any]:
        """The content of `result.json`, after the run has ended.

        Raises:
          Failed: the run ended with an error, or not in time.
        """
        try:
            code = process.wait(max(seconds, 1))
        except subprocess.TimeoutExpired:
            process.kill()
            raise self._failed("It was not finished in time.") from None
        if code:
            raise self._failed(f"It ended with code {code}.")
        return json.loads((self.folder / "result.json").read_text())

    def until_checkpoint(self, process: subprocess.Popen, seconds: float) -> None:
        """Waits for the first checkpoint of the search."""
        until = time.time() + seconds
        folder = self.folder / "checkpoints" / "search"
        while not any(name.name.isdigit() for name in folder.glob("*")):
            if process.poll() is not None:
                raise self._failed("It ended before its first checkpoint.")
            if time.time() > until:
                process.kill()
                raise self._failed("There was no checkpoint in time.")
            time.sleep(0.02)

    def _failed(self, why: str) -> Failed:
        """An error with the end of the output of the run."""
        return Failed(f"{without_paths(self._output.read_text()[-3000:])}\n{why}")


def run(record: Record) -> None:
    """Kills the default run after its first checkpoint, and resumes it to its end."""
    fields = {"checkpoint_every": 20, **(SHRUNK if record.plan.dry else {})}
    with tempfile.TemporaryDirectory() as place:
        own = Run(Path(place) / "default", "zarts_mgs.py", fields)
        began = time.time()
        process = own.start()
        own.until_checkpoint(process, record.left)
        process.kill()
        process.wait()
        before = time.time() - began
        first = own.said()
        record.keep(
            f"killed at its first checkpoint, after {before:.0f} s",
            seconds_to_checkpoint=before,
            first_start=first,
        )
        result = own.finish(own.start(), record.left)
        wanted = (
            "test_accuracy", "random_test_accuracy", "supernet_valid_accuracy",
            "seconds", "interrupted", "estimator",
        )  # fmt: skip
        said = own.said()
    found = {name: result[name] for name in wanted}
    resumed = result["interrupted"] == 1
    # A line that both starts print is kept once.
    memory = list(dict.fromkeys(line for line in first + said if "memory" in line))
    took = found["seconds"]
    record.keep(
        f"{'resumed' if resumed else 'NOT resumed'} and finished; test accuracy "
        f"{found['test_accuracy']}, {took['compile']:.0f} s compiling, "
        f"{took['search']:.0f} s searching, {took['retrain']:.0f} s retraining",
        resumed=resumed,
        result=found,
        second_start=said,
        memory=memory,
    )
    for line in memory:
        record.keep(line)


def search(record: Record) -> None:
    """Searches on NAS-Bench-201: one epoch to measure its time, then as many epochs as
    fit the time that is left."""
    plan = record.plan
    if plan.cifar is None:
        record.keep("skipped: it needs --cifar", skipped="without --cifar")
        return
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        searches = list(SEARCHES.items())[: 1 if plan.dry else None]
        for index, (name, own) in enumerate(searches):
            share = record.left / (len(searches) - index)
            until = time.time() + share
            fields = {
                "data.path": plan.cifar.resolve(), "data.fractions": (0.5, 0.48, 0.02),
                "log_every": 1000,
                **(NARROW if plan.dry else {}),
            }  # fmt: skip

            def epochs(count: int, fields=fields, name=name, own=own, until=until):
                warm = min(own.get("search.warmup_epochs", 0), count - 1)
                given = {"search.epochs": count, "search.warmup_epochs": warm}
                made = Run(
                    Path(place) / f"{name}_{count}", f"{name}.py:nasbench201",
                    fields | given,
                )  # fmt: skip
                result = made.finish(made.start(), until - time.time())
                return made, result

            made, result = epochs(1)
            each = result["seconds"]["search"]
            start = share - (until - time.time()) - each  # the cache shortens it
            count = int((until - time.time() - start) / each * 0.9)
            if count > 1 and not plan.dry:
                made, result = epochs(count)
            found[name] = {
                "epochs": max(count, 1) if not plan.dry else 1,
                "seconds": result["seconds"],
                "true_accuracy": result["true_accuracy"],
                "supernet_valid_accuracy": result["supernet_valid_accuracy"],
                "by_epoch": _judged(made.folder),
            }
            record.keep(
                f"{name}: {found[name]['epochs']} epochs of {each:.1f} s, true accuracy "
                f"{result['true_accuracy']}",
                searches=found,
            )


def _judged(folder: Path) -> list[dict[str, float]]:
    """The true accuracies of alpha's architecture after each epoch, from the log."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [
        {k: v for k, v in line.items() if k.startswith("true_") or k == "seconds"}
        for line in lines
        if "valid_accuracy" in line
    ]
