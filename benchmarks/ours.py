"""Our side of the benchmark: the programs that a nasjax search runs, as they are."""

from __future__ import annotations

import functools
import time
from types import SimpleNamespace
from typing import Any

import jax

from nasjax.engine import memory, optim
from nasjax.engine.compiling import side_by_side
from nasjax.engine.optim import Hyper
from nasjax.experiment import defaults
from nasjax.nets import count, genotype_network, supernet
from nasjax.search import ALGORITHMS, Problem
from nasjax.spaces import DARTS_8, CellSpace, Macro, darts
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.published import PUBLISHED
from nasjax.tasks.retrain import training

_STATES = {  # steps whose state is not that of the others
    "mgs": "mgs", "retrain": "retrain", "sanas": "four", "second_network": "four"
}  # fmt: skip


class Ours:
    """The steps as methods of one search state, which they donate and replace.

    Attributes:
      problem: of all searches.
      steps: name -> (state, *batches) -> (state, metrics), pure.
      inits: name -> key -> the state that this step takes.
      batches: name -> its batches.
      axes: name -> the axis of each batch that devices split, see `data_parallel`.
      stated: name -> cost in evaluations of a batch's gradient, as searches state it.
      parameters: of the supernet.
    """

    def __init__(
        self,
        settings,
        space: CellSpace | None = None,
        macro: Macro | None = None,
        genotype: Genotype = PUBLISHED["darts_v2"],
        axis: str | None = None,
    ):
        """Programs of one network.

        Args:
          settings: see `benchmarks.supernet.NET`.
          space: that of DARTS, where there is none.
          macro: as the settings say, where there is none.
          genotype: whose network is retrained.
          axis: that pmap maps.
        """
        self._settings = settings
        shape = (settings.size, settings.size, 3)
        space = space or darts(DARTS_8)
        macro = macro or Macro.of(space, settings.channels, settings.cells, "cifar")

        def net(axis: str | None):
            options = (settings.lowering, axis, settings.remat, settings.precision)
            return supernet(space, macro, settings.classes, *options)

        problem = Problem(
            space=space,
            model=net(axis),
            image_shape=shape,
            sgd=lambda rate, clip=True: optim.sgd(rate, 0.9, 3e-4, 5.0 * clip),
            rate=optim.cosine(0.025, 0.001, 50, 100),
            steps_per_epoch=100,
            epochs=50,
            warmup_epochs=0,
            axis=axis,
        )
        if axis:
            problem = problem._replace(
                whole=problem._replace(model=net(None), axis=None)
            )
        self.problem = problem
        adam = {"every": 1, "rate": 3e-4, "b1": 0.5, "b2": 0.999, "weight_decay": 1e-3}
        second = ALGORITHMS["darts_second"](
            problem, SimpleNamespace(finite_difference=False, **adam)
        )
        mgs = ALGORITHMS["zarts_mgs"](
            problem,
            SimpleNamespace(
                every=10, samples=settings.samples, chunk=settings.chunk,
                inner_steps=settings.inner_steps, inner_rate=0.0, inner_part="weights",
                split="candidates", spread=0.1, temperature=1.0, mixture=1e-3,
                proposal="mixture", weights="likelihood",
            ),
        )  # fmt: skip
        four = defaults.sanas("cifar10")
        sanas = ALGORITHMS["sanas"](
            problem._replace(base=four.base, saliency=four.saliency), four.arch
        )
        first = ALGORITHMS["darts_first"](problem, SimpleNamespace(**adam))
        network = genotype_network(
            genotype, macro, settings.classes, True, settings.lowering, axis,
            settings.remat, settings.precision,
        )  # fmt: skip
        recipe = defaults.settings("cifar10").retrain
        train = training(network, shape, recipe, 100, axis)
        self.steps = {
            "weight_step": first.weight_step,
            "first_order": first.arch_step,
            "second_order": second.arch_step,
            "mgs": mgs.arch_step,
            "sanas": sanas.arch_step,
            "second_network": sanas.further[0].step,
            "retrain": train.step,
        }
        self.inits = dict.fromkeys(self.steps, first.init)
        self.inits |= {"mgs": mgs.init, "retrain": train.init}
        self.inits |= dict.fromkeys(("sanas", "second_network"), sanas.init)
        self.stated = {
            "weight_step": first.weight_cost,
            "second_order": second.direction.cost,
            "sanas": sanas.direction.cost,
            "second_network": sanas.further[0].cost,
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
        """What XLA says the step needs: arguments, results and temporaries."""
        return memory.needed(self._compiled[name])

    def counted(self, name: str) -> dict[str, float]:
        """Operations and bytes of a step as XLA counts them; what it calls from a
        library, or repeats in a loop, it may not count, or count once."""
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
