"""How fast the steps of DARTS are: beside PyTorch, and beside the floor.

All sides take turns, step by step; our default side runs beside each of the others, so
ratios are of the same minutes, and nothing compiles meanwhile. Times of one step, waited
for, in seconds.
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
OTHERS = {  # our other ways, and PyTorch's: the side, and what differs
    "conv": ("ours", {"lowering": "conv"}),
    "shift, bfloat16": ("ours", {"precision": "bfloat16"}),
    "eager PyTorch, bfloat16": ("peer", {"precision": "bfloat16"}),
    "shift, highest": ("ours", {"products": "highest"}),
    "shift, all kept": ("ours", {"remat": "none"}),
}
WIDE = {"C = 36": "ours", "C = 36, eager PyTorch": "peer"}
GOALS = {  # (side, step): the largest ratio of ours to it
    (EAGER, "weight_step"): 0.4,
    (COMPILED, "weight_step"): 1.0,
    (EAGER, "second_order"): 0.4,
}
PATIENCE = 0.6  # share of the time left in which torch.compile must be ready
RATES, DRY_RATES = (8192, 2**28), (128, 2**16)  # side of a matrix; numbers copied
COMPILING = 60  # seconds, of weight and first-order step
NOTES = (
    "float32 is computed as each library does by default: where the matrix rates of "
    "'shift' and 'shift, highest' differ, 'shift' computes in tf32; PyTorch convolves in "
    "tf32, and 'torch.compile' compiles each edge.",
    "Edges are scanned in all of ours: the library has no unrolled ones.",
    "What is counted by XLA leaves out library calls and counts a loop once; the floor "
    "is ours, see benchmarks/floor.py.",
)


def fast(record: Record) -> None:
    """Every side and step that there is time for, those first that matter most."""
    dry = record.plan.dry
    settings = sizes.SMALLEST if dry else sizes.FULL
    record.keep(settings=settings, notes=NOTES)
    torch = importlib.util.find_spec("torch") is not None
    with contextlib.ExitStack() as stack:
        race = Race(record, settings, stack, 2 if dry else 10)
        peers = {EAGER: "peer", COMPILED: "compiled"} if torch and not dry else {}
        if not peers:
            record.keep("no PyTorch beside it", peers="none")
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
        race.ask(
            [COMPILED], "compile", *SEARCH
        )  # takes long, so others compile beside it
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
    """A side in this process, told like a `Worker`."""

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
    """The sides, and the report on them. A side that fails is out, and says why."""

    def __init__(self, record: Record, settings: dict, stack, repeats: int):
        self._record, self._settings = record, settings
        self._stack, self._repeats = stack, repeats
        self._in: dict[str, Any] = {}
        self._sides: dict[str, dict] = {}

    def enter(self, name: str, side: str, **other: Any) -> None:
        """A side joins, with what differs in its settings."""
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
        """A side's process ends, and its memory on the device is free."""
        if name in self._in:
            self._in.pop(name).stop()

    def compile(self, names: list[str], *steps: str) -> None:
        """Side by side: each in its process, and the steps of ours in threads."""
        self.ask(names, "compile", *steps)
        for name in names:
            self.wait(name, steps)

    def wait(self, name: str, steps: tuple[str, ...], share: float = 1.0) -> None:
        """For a side to have compiled the steps, in this share of the time left."""
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
        """A step of each side in turn, again and again."""
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
        """What arithmetic and traffic alone would take, by rates measured there."""
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
        """The longest kernels of a step, and the gaps between kernels."""
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
        """What a side of ours says of itself, without which the race goes on."""
        if name in self._in and self._sides[name]["side"] == "ours":
            self.ask([name], *command)
            return self._answer(name, needed=False)
        return None

    def _answer(self, name: str, share: float = 1.0, needed: bool = True) -> Any:
        """What a side says; None of one that is out, or that failed."""
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
