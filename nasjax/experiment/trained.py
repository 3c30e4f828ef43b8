"""The networks that a run trains: of its architecture, and of random ones beside it.

The architecture is trained `config.retrain.seeds` times, in the phases "retrain",
"retrain_1", ... Random architectures are trained in the same way, once each, in the
phases "random_0", "random_1", ...
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
from jax import Array

from nasjax.core.keys import derive
from nasjax.engine.beside import beside
from nasjax.engine.loop import Outcome
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import Store
from nasjax.engine.progress import Progress
from nasjax.engine.signals import COMPILATION, doing
from nasjax.engine.workdir import RunFolder
from nasjax.experiment.build import Experiment
from nasjax.experiment.phases import retrain_phase, tested
from nasjax.experiment.retrain import retrain
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.rules import random_genotypes


class Trained(NamedTuple):
    """Networks that were trained, and tested.

    Attributes:
      results: fields of `result.json`, by name.
      outcomes: of each training.
    """

    results: dict[str, Any]
    outcomes: list[Outcome]


class Trainings:
    """The trainings of a run.

    Attributes:
      random: the random architectures that are compiled in the background; none
        without retraining.
    """

    def __init__(
        self,
        experiment: Experiment,
        folder: RunFolder,
        progress: Progress,
        store: Store,
    ):
        self._experiment, self._store = experiment, store
        self._folder, self._progress = folder, progress
        config = experiment.config
        self._seeds = config.retrain.seeds if config.retrain.epochs else 0
        self.random = self._draw(
            [experiment.genotype] if experiment.genotype is not None else []
        )
        self._ready: dict[Genotype, Future] = {}

    def _draw(self, besides: Sequence[Genotype]) -> list[Genotype]:
        """The random architectures, distinct from `besides` where the space allows it."""
        config, space = self._experiment.config, self._experiment.space
        wanted = config.retrain.random if config.retrain.epochs else 0
        return random_genotypes(config.seed, space, wanted, besides)

    def _key(self, index: int) -> Array:
        """The key of the training of this number, of either kind."""
        key = jax.random.key(self._experiment.config.seed)
        return derive(key, "retrain", *([index] if index else []))

    def prepare(self) -> None:
        """Compiles the training of each random architecture in the background.

        They are compiled one after another, to leave processors to the search. Nothing
        is compiled if programs are not kept.
        """
        if self._store.folder and not self._ready:
            before = None
            for genotype in self.random:
                before = beside(functools.partial(self._compile, genotype, before))
                self._ready[genotype] = before

    def _compile(self, genotype: Genotype, before: Future | None) -> None:
        if before:
            before.exception()  # waits
        store = self._store.of(genotype.to_json())

        def compile() -> str | None:
            experiment = self._experiment
            phase = retrain_phase(
                "", experiment.retraining(genotype), Hyper.of(experiment.config.retrain),
                self._key(0), experiment.devices, store, True,
            )  # fmt: skip
            return phase.compile(phase.place(phase.init()))

        store.value("compiled", compile)

    def run(self, genotype: Genotype) -> Trained:
        """Trains and tests all networks; interrupted trainings resume."""
        made, metric = self._experiment, self._experiment.domain.metric.name
        outcomes, found, random = [], [], []
        first, examples = None, None
        for index in range(self._seeds):
            name = f"retrain_{index}" if index else "retrain"
            retraining, outcome, value = self._train(name, genotype, self._key(index))
            outcomes.append(outcome)
            found.append(value)
            first = first or retraining.variables(outcome.state)
            examples = len(jax.tree.leaves(retraining.held)[0])
        drawn = self._draw([genotype])
        if drawn:
            cells = [cell.to_json() for cell in drawn]
            self._folder.write_outcome("random_genotypes", cells)
        self.prepare()
        for index, cell in enumerate(drawn):
            if cell in self._ready:
                waits = f"random_{index}: compiling, begun beside the search"
                with doing(COMPILATION), self._progress.waiting(waits, announced=False):
                    self._ready[cell].exception()  # waits; if it failed, compiles now
            _, outcome, value = self._train(f"random_{index}", cell, self._key(index))
            outcomes.append(outcome)
            random.append(value)
        reweighted = None
        if made.config.retrain.reweighted and first is not None:
            key = derive(jax.random.key(made.config.seed), "retrain reweighted")
            _, outcome, reweighted = self._train("reweighted", genotype, key, first)
            outcomes.append(outcome)
        results = {
            f"test_{metric}": mean(found),
            f"test_{metric}_each": found,
            f"random_test_{metric}": mean(random),
            f"random_test_{metric}_each": random,
            f"reweighted_test_{metric}": reweighted,
            "test_examples": examples,
        }
        return Trained(results, outcomes)

    def _train(self, name: str, genotype: Genotype, key: Array, first: Any = None):
        """The network, the outcome of its training, and its measure on the test part."""
        made, own = self._experiment, self._store.of(genotype.to_json())
        retraining, outcome = retrain(
            made, name, genotype, key, self._folder, self._progress, self._store, first
        )
        with self._progress.waiting(f"{name}: testing", announced=False):
            measures = tested(retraining, outcome.state, made.devices, own)
        return retraining, outcome, finite(measures[made.domain.metric.name])


def finite(value: float) -> float | None:
    """The value as JSON can hold it: None if it is infinite or not a number."""
    return value if math.isfinite(value) else None


def mean(values: list[float | None]) -> float | None:
    """The mean; None if there is no value, or one of them is None."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
