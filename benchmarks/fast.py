"""The time of the steps of DARTS, against PyTorch and against the floor.

All sides take turns, step by step. Our default side takes turns with each of the
others: a ratio compares times of the same minutes, and nothing compiles meanwhile. A
time is the seconds of one step until its results are ready.
"""

from __future__ import annotations

import contextlib
import importlib.util
import statistics
from types import SimpleNamespace
from typing import Any

from benchmarks import floor, sizes
from benchmarks.record import Record
from benchmarks.supernet import COMPARED
from benchmarks.worker import SideError, Worker, commands

SEARCH = ("weight_step", "first_order")
OURS, EAGER, COMPILED = "shift", "eager PyTorch", "torch.compile"
OTHERS = {  # other ways: the side, and the settings that differ
    "conv": ("ours", {"lowering": "conv"}),
    "shift, bfloat16": ("ours", {"precision": "bfloat16"}),
    "eager PyTorch, bfloat16": ("peer", {"precision": "bfloat16"}),
    "shift, highest": ("ours", {"products": "highest"}),
    "shift, all kept": ("ours", {"remat": "none"}),
}
WIDE = {"C = 36": "ours", "C = 36, eager PyTorch": "peer"}
GOALS = {  # (side, step): largest ratio of our time to the side's
    (EAGER, "weight_step"): 0.4,
    (COMPILED, "weight_step"): 1.0,
    (EAGER, "second_order"): 0.4,
}
PATIENCE = 0.6  # share of the time left in which torch.compile must be ready
RATES, DRY_RATES = (8192, 2**28), (128, 2**16)  # side of a matrix; numbers copied
COMPILING = 60  # seconds for weight and first-order step
NOTES = (
    "float32 is computed by each library's default: where the matrix rates of 'shift' "
    "and 'shift, highest' differ, 'shift' computes in tf32; PyTorch convolves in tf32, "
    "and 'torch.compile' compiles each edge.",
    "All of our sides scan edges: the library does not unroll them.",
    "The counts of XLA leave out library calls and count a loop once; the floor is "
    "counted by benchmarks/floor.py.",
)


def fast(record: Record) -> None:
    """Times as many sides and steps as fit the budget, the most important first."""
    dry = record.plan.dry
    settings = sizes.SMALLEST if dry else sizes.FULL
    record.keep(settings=settings, notes=NOTES)
    torch = importlib.util.find_spec("torch") is not None
    with contextlib.ExitStack() as stack:
        race = Race(record, settings, stack, 2 if dry else 10)
        peers = {EAGER: "peer", COMPILED: "compiled"} if torch and not dry else {}
        if not peers:
            record.keep("no PyTorch to compare with", peers="none")
        race.enter(OURS, "ours")
        for name, side in peers.items():
            race.enter(name, side)
        race.compile([OURS, EAGER], *SEARCH[: 1 if dry else None])
        for step in SEARCH[: 1 if dry else None]:
            race.run([OURS, EAGER], step)
        race.floors(OURS)
        if dry:
            race.profile(OURS, "weight_step")
            return
        race.compile([OURS, EAGER], "second_order")
        race.run([OURS, EAGER], "second_order")
        race.ask([COMPILED], "compile", *SEARCH)  # takes long; others compile meanwhile
        race.compile([OURS], "retrain")
        others = dict(list(OTHERS.items())[:2])
        for name, (side, other) in others.items():
            race.enter(name, side, **other)
            race.compile([name], *SEARCH)
        race.wait(COMPILED, SEARCH, PATIENCE)
        for step in SEARCH:
            race.run([OURS, EAGER, COMPILED], step)
        race.run([OURS], "retrain")
        for name, (side, other) in OTHERS.items():
            if name not in others:
                race.enter(name, side, **other)
                race.compile([name], *SEARCH)
            for step in SEARCH:
                race.run([OURS, name], step)
            race.floors(name)
            race.leave(name)
        race.profile(OURS, "weight_step")
        race.compile([COMPILED], "second_order")
        race.run([OURS, COMPILED], "second_order")
        for name in (OURS, *peers):
            race.leave(name)
        for name, side in WIDE.items():
            race.enter(name, side, channels=36)
        race.compile([*WIDE], *SEARCH)
        for step in SEARCH:
            race.run([*WIDE], step)


class Here:
    """A side in this process, with the interface of a `Worker`."""

    def __init__(self, side: str, settings: dict, net: dict):
        self._commands = commands(side, settings, **net)
        self._answer: Any = None

    def ask(self, name: str, *rest: Any) -> None:
        self._answer = self._commands[name](*rest)

    def ready(self, seconds: float) -> bool:
        return True

    def answer(self) -> Any:
        return self._answer

    def stop(self) -> None:
        pass


class Race:
    """The sides and their report. A side that fails leaves; its error is reported."""

    def __init__(self, record: Record, settings: dict, stack, repeats: int):
        self._record, self._settings = record, settings
        self._stack, self._repeats = stack, repeats
        self._in: dict[str, Any] = {}
        self._sides: dict[str, dict] = {}

    def enter(self, name: str, side: str, **other: Any) -> None:
        """Adds a side, with the settings in which it differs."""
        if self._record.left <= 0:
            return
        settings = self._settings | other
        self._sides[name] = {
            "side": side, "differs": other, "compile_seconds": {}, "seconds": {}
        }  # fmt: skip
        if self._record.plan.dry:
            self._in[name] = Here(side, settings, sizes.smallest())
        else:
            worker = Worker(side, settings)
            self._in[name] = self._stack.enter_context(worker)

    def leave(self, name: str) -> None:
        """Ends the process of a side, which frees its memory on the device."""
        if name in self._in:
            self._in.pop(name).stop()

    def compile(self, names: list[str], *steps: str) -> None:
        """Compiles in parallel: sides in processes, the steps of ours in threads."""
        self.ask(names, "compile", *steps)
        for name in names:
            self.wait(name, steps)

    def wait(self, name: str, steps: tuple[str, ...], share: float = 1.0) -> None:
        """Waits for this share of the time left until a side has compiled the steps."""
        seconds = self._answer(name, share=share)
        if seconds is None:
            return
        own = self._sides[name]["compile_seconds"]
        own[", ".join(steps)] = seconds
        self._keep(f"{name}: {', '.join(steps)} compiled in {seconds:.0f} s")
        if name == OURS and steps == SEARCH:
            what = "seconds to compile weight and first-order step"
            self._record.goal(what, seconds, COMPILING)

    def run(self, names: list[str], step: str) -> None:
        """Times a step of each side in turn, repeatedly."""
        runs: dict[str, list[float]] = {name: [] for name in names}
        for repeat in range(self._repeats + 1):
            for name in names:
                took = self._told(name, "run", step)
                if took is not None and repeat:  # the first one touches memory
                    runs[name].append(took)
        for name, own in runs.items():
            if own:
                found = {"median": statistics.median(own), "least": min(own)} | (
                    {"runs": own} | self._plan(name, step)
                )
                self._sides[name]["seconds"].setdefault(step, []).append(found)
        medians = {name: statistics.median(own) for name, own in runs.items() if own}
        line = ", ".join(f"{name} {1e3 * own:.1f} ms" for name, own in medians.items())
        self._keep(f"{step}: {line}")
        for (side, of), most in GOALS.items():
            if of == step and {OURS, side} <= medians.keys():
                what = f"{step}, ours over {side}"
                self._record.goal(what, medians[OURS] / medians[side], most)

    def _plan(self, name: str, step: str) -> dict:
        if self._sides[name]["side"] != "ours":
            return {}
        return {
            "planned_bytes": self._beside(name, "planned", step),
            "counted_by_xla": self._beside(name, "counted", step),
        }

    def floors(self, name: str) -> None:
        """Adds the time of arithmetic or traffic alone, by the rates of the side."""
        size = DRY_RATES if self._record.plan.dry else RATES
        rates = self._beside(name, "rates", *size)
        own = self._sides.get(name, {})
        if rates is None or "weight_step" not in own["seconds"]:
            return
        settings = SimpleNamespace(**self._settings | own["differs"])
        space = sizes.smallest()["space"] if self._record.plan.dry else None
        seconds = floor.seconds(settings, rates, space)
        own |= {"rates": rates, "floor_seconds": {k: seconds[k] for k in COMPARED}}
        for step, runs in own["seconds"].items():
            if step in COMPARED:
                least = max(seconds[step].values())
                runs[-1]["over_floor"] = runs[-1]["median"] / least
        line = f"{rates['flops_per_second'] / 1e12:.1f} TFLOP/s in matrix products"
        line += f", {rates['bytes_per_second'] / 1e9:.0f} GB/s in copies"
        over = own["seconds"]["weight_step"][-1]["over_floor"]
        self._keep(f"{name}: {line}; weight step at {over:.1f} times its floor")

    def profile(self, name: str, step: str) -> None:
        """Adds the longest kernels of a step, and the gaps between kernels."""
        found = self._beside(name, "profile", step)
        if found and found["kernels"]:
            self._sides[name]["profile"] = {step: found}
            longest = found["longest"][0]
            self._keep(
                f"{step}: {found['kernels']:.0f} kernels, idle {found['idle']:.0%}; "
                f"{longest['share']:.0%} in {longest['name']}"
            )

    def ask(self, names: list[str], *command: Any) -> None:
        for name in names:
            if name in self._in:
                self._in[name].ask(*command)

    def _told(self, name: str, *command: Any) -> Any:
        self.ask([name], *command)
        return self._answer(name)

    def _beside(self, name: str, *command: Any) -> Any:
        """The answer of a side of ours; an error does not end the side."""
        if name in self._in and self._sides[name]["side"] == "ours":
            self.ask([name], *command)
            return self._answer(name, needed=False)
        return None

    def _answer(self, name: str, share: float = 1.0, needed: bool = True) -> Any:
        """The answer of a side; None if the side has left or fails."""
        side = self._in.get(name)
        if side is None:
            return None
        try:
            if side.ready(share * self._record.left):
                return side.answer()
            why = "its time is over"
        except SideError as error:
            why = str(error)
            if not needed:
                self._keep(f"{name}: {why}")
                return None
        self.leave(name)
        self._sides[name]["out"] = why
        self._keep(f"{name} is out: {why}")
        return None

    def _keep(self, line: str) -> None:
        self._record.keep(line, sides=self._sides)
