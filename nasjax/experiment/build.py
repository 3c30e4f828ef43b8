"""The one place where a config becomes objects."""

from __future__ import annotations

import functools
import inspect
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from nasjax.core.errors import UserError, unknown
from nasjax.data import memory
from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.engine.platforms import devices
from nasjax.experiment import architecture, defaults, validate
from nasjax.monitors.alpha import alpha
from nasjax.monitors.base import Monitor
from nasjax.monitors.curvature import curvature
from nasjax.monitors.penalties import penalties
from nasjax.monitors.supernet import gradients, supernet
from nasjax.monitors.truth import truth
from nasjax.nets import Mixed
from nasjax.search import PARTS, Algorithm, Search, Training, compose, parse, search
from nasjax.search.base import Stage
from nasjax.search.penalties.hessian import hessian
from nasjax.search.stages import with_edges
from nasjax.spaces import CellSpace
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.table import DATASETS, Table, packaged
from nasjax.tasks import DOMAINS
from nasjax.tasks.base import Domain, Retraining, Task


class Experiment(NamedTuple):
    """A checked config as objects. Nothing has been written yet.

    Attributes:
      config: the checked config, with the settings of the named parts alone.
      space: the space of the architectures.
      domain: data, and the networks that learn from it.
      algorithm: with all stages.
      devices: that steps are split over.
      table: of true accuracies, or None.
      genotype: the architecture that is trained without a search, or None.
    """

    config: ConfigDict
    space: CellSpace
    domain: Domain
    algorithm: Algorithm
    devices: Devices
    table: Table | None
    genotype: Genotype | None = None

    def settings(self, stage: Stage) -> SimpleNamespace:
        """The fields of `config.search` in a stage."""
        return SimpleNamespace(**{**self.config.search, **stage.supernet})

    def hyper(self, stage: Stage) -> Hyper:
        """The numbers of a stage's training of the weights."""
        return Hyper.of(self.settings(stage))

    def begin(self, stage: Stage, previous: Any, hyper: Hyper | None = None) -> Search:
        """The search of a stage.

        Args:
          stage: stage of the algorithm.
          previous: outcome of the previous stage, or None.
          hyper: hyperparameters, which may be traced; None: from the config.

        Raises:
          UserError: the method refuses a setting.
        """
        settings = self.settings(stage)
        hyper = hyper or self.hyper(stage)
        domain = self.domain.staged(stage.supernet)
        algorithm = stage.change(self.algorithm)
        space = stage.space(self.space, previous)
        training = Training(
            domain.optimizer(hyper),
            domain.rate(hyper),
            hyper.epochs,
            domain.steps_per_epoch,
            settings.warmup_epochs,
        )
        weight = self.config.collapse.penalty
        extra = [hessian(weight)] if weight else []
        made = algorithm._replace(penalties=(*algorithm.penalties, *extra))

        @functools.cache
        def task(axis: str | None) -> Task:
            return domain.supernet(space, algorithm.edge, hyper, axis)

        task(self.devices.axis)  # its errors are not errors of a setting of a part
        try:
            return search(
                made, space, task, training, self.devices, settings.alpha_spread,
                domain.final(self.space),
            )  # fmt: skip
        except ValueError as error:  # a setting that the method itself refuses
            raise UserError(f"{error} Set it with --config.arch.NAME.FIELD.") from None

    def monitors(self, spent: float, search: Search) -> list[Monitor]:
        """The monitors of a search.

        Args:
          spent: number of gradients that were evaluated before the phase.
          search: the search that is measured.
        """
        settings, problem = self.config.collapse, search.problem
        found = [supernet(search), gradients(search, spent), alpha(problem.space)]
        if self.table:
            found.append(truth(self.truth))
        if any(penalty.report for penalty in problem.penalties):
            found.append(penalties(search))
        if settings.interval:
            sizes = settings.images, settings.products, settings.probes
            found.append(curvature(search, settings.interval, *sizes))
        return found

    def retraining(self, genotype: Genotype, first: Any = None) -> Retraining:
        """The network of a genotype and its training.

        first: variables of another network, by whose saliency images are reweighted.
        """
        return self.domain.retraining(genotype, self.space, self.devices, first)

    def truth(self, genotype: Genotype) -> dict[str, float]:
        """Data set -> true accuracy as a fraction; empty without a table."""
        known = self.table.accuracy(genotype) if self.table else {}
        return {name: accuracy / 100 for name, accuracy in known.items()}

    def outcome(self, stage: Stage, search: Search, state: Any) -> Any:
        """The outcome of a stage, as JSON."""
        if stage.finish:
            return stage.finish(jax.device_get(state.arch), search.problem.space)
        mix = jax.device_get(jax.jit(search.mix)(state))
        return search.genotype(mix, self.config.collapse.most_skips).to_json()

    def readings(self, search: Search, state: Any) -> dict[str, Any]:
        """The architectures of a state with and without `none`, and their accuracies.

        They are the "readings" of `result.json`; empty where only one is possible.
        """
        mix = jax.device_get(jax.jit(search.mix)(state))
        found = search.readings(mix, self.config.collapse.most_skips)
        return {
            name: {
                "genotype": genotype.to_json(),
                "true_accuracy": self.truth(genotype) or None,
            }
            for name, genotype in found.items()
        }


def build(given: ConfigDict, data: Any = None) -> Experiment:
    """Checks a config and makes its objects; reads the data, writes nothing.

    data: arrays instead of the files of `config.data`, see `nasjax.data.memory.read`.
      `config.data.path` gets their fingerprint.

    Raises:
      UserError: the config, the data or the devices cannot be used.
    """
    devices()
    config = validate.config(given)
    if data is not None:
        config = _with_address(config, data)
    genotype = architecture.resolve(config)
    with config.unlocked():
        defaults.by_data(config)
    space = validate.of_run(config)
    fields = config.to_dict() | {"arch": {}}
    arrays = () if data is None else (data,)
    domain = DOMAINS[config.task].load(_namespaces(fields), *arrays)
    where = Devices.of(config.devices, config.parallel)
    made = Experiment(
        config, space, domain, _algorithm(config), where, _table(config.space)
    )
    for stage in made.algorithm.stages:
        last = _checked(made, stage)
    if config.space.edges == "fixed":
        made = made._replace(space=last.problem.space)
    if genotype:
        architecture.check(genotype, made.space)
    return made._replace(genotype=genotype)


def _table(given: ConfigDict) -> Table | None:
    """The true accuracies of the space of `config.space`, or None."""
    if not given.table:
        return packaged() if given.name == "nasbench201" and given.share else None
    table = Table.read(given.table)
    for column in DATASETS.values():
        table.grid(column)  # refuses one that lacks an architecture
    return table


def _with_address(config: ConfigDict, data: Any) -> ConfigDict:
    """The config with the fingerprint of the data."""
    if len(inspect.signature(DOMAINS[config.task].load).parameters) < 2:
        raise UserError(
            f"data was given, but the kind of data {config.task!r} takes no arrays; "
            "leave out data=."
        )
    for name in ("path", "test_path"):
        if config.data[name]:
            raise UserError(
                f"config.data.{name} is {config.data[name]!r}, and data was given as "
                f'well; leave out data=, or set config.data.{name} to "".'
            )
    config = ConfigDict(config.to_dict())
    config.data.path = memory.address(data)
    return config.lock()


def _namespaces(fields: dict[str, Any]) -> SimpleNamespace:
    """Nested dictionaries as values with attributes."""
    made = {k: _namespaces(v) if isinstance(v, dict) else v for k, v in fields.items()}
    return SimpleNamespace(**made)


def _algorithm(config: ConfigDict) -> Algorithm:
    """The algorithm that the config names, with `config.space.edges` applied."""
    settings = {}
    for name in parse(config.algorithm):
        shared = {group: config[group] for group in PARTS[name].shares}
        settings[name] = SimpleNamespace(**config.arch[name], **shared)
    try:
        algorithm = compose(config.algorithm, settings)
    except ValueError as error:  # a setting that the method itself refuses
        raise UserError(f"{error} Set it with --config.arch.NAME.FIELD.") from None
    return with_edges(algorithm, config.space.edges)


def _checked(made: Experiment, stage: Stage) -> Search:
    """The search of a stage, if it can run.

    Raises:
      UserError: it cannot.
    """
    known = made.config.search
    for name in stage.supernet:
        if name not in known:
            where = f"field of config.search in stage {stage.name!r}"
            raise unknown(where, name, known)
    search = made.begin(stage, None)
    made.domain.staged(stage.supernet).check(search.problem.space, made.devices)
    if not made.config.genotype:
        _check_cadence(search)
    if (
        stage.change(made.algorithm).edge is not Mixed
    ):  # it may refuse the supernet's channels
        jax.eval_shape(search.init, jax.random.key(0))
    return search


def _check_cadence(search: Search) -> None:
    """Refuses a search in which alpha never moves."""
    training, cadence = search.problem.training, search.program("alpha").cadence
    total = training.epochs * training.steps_per_epoch
    if not any(cadence.due(step) for step in range(total)):
        raise UserError(
            f"Alpha would never move: it is due every {cadence.every} weight steps after "
            f"{cadence.warmup}, and the search has {total}; lower "
            "--config.arch.NAME.every or --config.search.warmup_epochs."
        )
