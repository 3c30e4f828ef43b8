"""Our side of the benchmark: the programs that a nasjax search runs, unchanged."""

from __future__ import annotations

import functools
import time
from types import SimpleNamespace
from typing import Any

import jax

from nasjax.data.augment import Augment
from nasjax.engine import memory, optim
from nasjax.engine.compiling import side_by_side
from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.experiment import defaults
from nasjax.nets import count, genotype_network, supernet
from nasjax.search import PARTS, Training, compose, parse, search
from nasjax.spaces import DARTS_8, CellSpace, Macro, darts
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.published import PUBLISHED
from nasjax.tasks.images import images
from nasjax.tasks.retrain import Recipe, training

_STATES = {  # steps that have another state than the others
    "mgs": "mgs", "retrain": "retrain", "sanas": "four", "second_network": "four"
}  # fmt: skip


class Ours:
    """The steps as methods of one search state, which they donate and replace.

    Attributes:
      problem: problem of the first-order search.
      steps: name -> (state, *batches) -> (state, metrics), pure.
      inits: name -> key -> the state that this step takes.
      batches: name -> batches of the step.
      axes: name -> the axis of each batch that devices split, see `Devices.step`.
      stated: name -> cost in evaluations of a batch's gradient, as searches state it.
      parameters: number of parameters of the supernet.
    """

    def __init__(
        self,
        settings,
        space: CellSpace | None = None,
        macro: Macro | None = None,
        genotype: Genotype = PUBLISHED["darts_v2"],
        mode: str = "jit",
    ):
        """Programs of one network.

        Args:
          settings: see `benchmarks.supernet.NET`.
          space: search space; None for the space of DARTS.
          macro: stacking of cells; None for the channels and cells of the settings.
          genotype: genotype whose network is retrained.
          mode: how devices split a step, see `Devices`.
        """
        self._settings = settings
        shape = (settings.size, settings.size, 3)
        space = space or darts(DARTS_8)
        macro = macro or Macro.of(space, settings.channels, settings.cells, "cifar")
        config, devices = defaults.settings("cifar10"), Devices.of(1, mode)

        def task(axis: str | None):
            options = (settings.lowering, axis, settings.remat, settings.precision)
            model = supernet(space, macro, settings.classes, *options)
            plain = Augment(mean=(0.0,) * 3, std=(1.0,) * 3)
            return images(model, shape, plain, settings.batch, 100)

        def begun(sentence: str, **changed):
            parts = {
                name: SimpleNamespace(
                    **config.arch[name].to_dict() | changed,
                    **{group: config[group] for group in PARTS[name].shares},
                )
                for name in parse(sentence)
            }
            training = Training(
                lambda rate, clip=True: optim.sgd(rate, 0.9, 3e-4, 5.0 * clip),
                optim.cosine(0.025, 0.001, 50, 100),
                epochs=50,
                steps_per_epoch=100,
                warmup_epochs=0,
            )
            return search(compose(sentence, parts), space, task, training, devices)

        first, second = begun("darts_first"), begun("darts_second")
        sanas = begun("darts_second+sanas")
        mgs = begun(
            "zarts_mgs", samples=settings.samples, chunk=settings.chunk,
            inner_steps=settings.inner_steps, spread=0.1, temperature=1.0,
        )  # fmt: skip
        self.problem = first.problem
        network = genotype_network(
            genotype, macro, settings.classes, True, settings.lowering,
            devices.axis, settings.remat, settings.precision,
        )  # fmt: skip
        recipe = config.retrain
        train = training(network, shape, Recipe.of(recipe), 100, devices)
        self.steps = {
            "weight_step": first.program("weights").step,
            "first_order": first.program("alpha").step,
            "second_order": second.program("alpha").step,
            "mgs": mgs.program("alpha").step,
            "sanas": sanas.program("alpha").step,
            "second_network": sanas.program("w2").step,
            "retrain": train.step,
        }
        self.inits = dict.fromkeys(self.steps, first.init)
        self.inits |= {"mgs": mgs.init, "retrain": train.init}
        self.inits |= dict.fromkeys(("sanas", "second_network"), sanas.init)
        self.stated = {
            "weight_step": first.program("weights").cost,
            "second_order": second.program("alpha").cost,
            "sanas": sanas.program("alpha").cost,
            "second_network": sanas.program("w2").cost,
        }
        batch = self._batch(jax.random.key(1))
        many = lambda m: jax.vmap(self._batch)(jax.random.split(jax.random.key(2), m))
        self.batches = dict.fromkeys(self.steps, (batch,))
        self.batches |= dict.fromkeys(
            ("first_order", "second_order", "sanas"), (many(1), batch)
        )
        self.batches["mgs"] = (many(settings.inner_steps), batch)
        self.batches["retrain"] = (batch, Hyper.of(recipe).arrays())
        self.axes = {name: (1, 0)[-len(own) :] for name, own in self.batches.items()}
        self.axes |= {"mgs": (None, None), "retrain": (0, None)}
        self._compiled: dict[str, Any] = {}
        self._states: dict[str, Any] = {}
        self.parameters = count.parameters(
            jax.eval_shape(first.init, jax.random.key(0)).w
        )

    def _batch(self, key):
        settings = self._settings
        shape = (settings.batch, settings.size, settings.size, 3)
        return {
            "image": jax.random.normal(key, shape),
            "label": jax.random.randint(key, shape[:1], 0, settings.classes),
            "key": jax.random.split(key, settings.batch),
        }

    def compile(self, *names: str) -> float:
        """Seconds to trace and compile these steps, side by side as in a run."""
        began = time.perf_counter()
        self._compiled |= side_by_side(
            {name: functools.partial(self._lower, name) for name in names}
        )
        return time.perf_counter() - began

    def _lower(self, name: str):
        state = jax.eval_shape(self.inits[name], jax.random.key(0))
        step = jax.jit(self.steps[name], donate_argnums=0)
        return step.lower(state, *self.batches[name])

    def planned_bytes(self, name: str) -> int:
        """Memory that XLA plans for a step: arguments, results and temporaries."""
        return memory.needed(self._compiled[name])

    def counted(self, name: str) -> dict[str, float]:
        """Operations and bytes of a step as XLA counts them. It may leave out library
        calls, and count a loop once."""
        found = self._compiled[name].cost_analysis() or {}
        wanted = {"flops": "flops", "bytes accessed": "bytes"}
        return {own: found[key] for key, own in wanted.items() if key in found}

    def run(self, name: str) -> float:
        """Seconds of one step."""
        kind = _STATES.get(name, "search")
        if kind not in self._states:
            self._states[kind] = jax.jit(self.inits[name])(jax.random.key(0))
            jax.block_until_ready(self._states)
        step, batches = self._compiled[name], self.batches[name]
        began = time.perf_counter()
        self._states[kind], metrics = step(self._states[kind], *batches)
        jax.block_until_ready((self._states, metrics))
        return time.perf_counter() - began
