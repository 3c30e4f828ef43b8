"""Search: a bilevel problem on a supernet, as pure programs.

    relaxation x edge x direction x smoothing x penalties x levels x stages -> Algorithm
    Algorithm x space x task x training x devices -> Search(init, programs)

A sentence such as "amended+sdarts_rs" names the choices of an algorithm, see
`nasjax.search.algorithms`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from nasjax.nets import Mixed
from nasjax.search.bilevel import Bilevel
from nasjax.search.relax import Relaxation, softmax
from nasjax.spaces import CellSpace
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.mix import Mix
from nasjax.spaces.rules import discretise
from nasjax.tasks.base import At

Remark = Callable[[Mapping[str, float | None]], str | None]


class SearchState(NamedTuple):
    """The complete state of a search, as one pytree.

    Attributes:
      step: number of weight steps taken, int32 scalar.
      key: typed key of the run. It is never consumed; keys are derived from it by name.
      w: network weights.
      batch_stats: running statistics of batch norm.
      arch: architecture parameters, a pytree made by the relaxation.
      weight_opt: state of the weight optimiser.
      arch_opt: state of the architecture direction.
      levels: (`Bilevel`, smooth) -> further programs, which train other networks at the
        weights that smooth(mix, loss_of_mix, key, `At`) returns.
    """

    step: Array
    key: Array
    w: Any
    batch_stats: Any
    arch: Any
    weight_opt: Any
    arch_opt: Any
    levels: Mapping[str, Any]


class Cadence(NamedTuple):
    """The weight steps s at which a program is due: s >= warmup, and `every` divides s.

    >>> [s for s in range(10) if Cadence(warmup=4, every=2).due(s)]
    [4, 6, 8]
    >>> [int(Cadence(warmup=4, every=2).before(s)) for s in (4, 5, 6, 8)]
    [0, 1, 1, 2]
    """

    warmup: int = 0
    every: int = 1

    def due(self, step: int) -> bool:
        """True if the program is due at weight step `step`."""
        return step >= self.warmup and step % self.every == 0

    def before(self, step: Array) -> Array:
        """Number of times that the program was due before weight step `step`."""
        first = -(-self.warmup // self.every)
        return jnp.maximum(-(-step // self.every) - first, 0)

    def times(self, steps: int) -> int:
        """Number of times the program is due in the first `steps` weight steps."""
        return sum(map(self.due, range(steps)))


class Batches(NamedTuple):
    """The batches that a program takes.

    Attributes:
      draw: (task, data, state) -> tuple of batches. data contains the halves "weights"
        and "arch" of the training data.
      axes: for each batch, the axis that is split over devices, see `Devices.step`.
    """

    draw: Callable
    axes: tuple[int | None, ...]


class Program(NamedTuple):
    """A step of a search. A search runs its programs in order.

    Attributes:
      name: "alpha", "weights", or the name of a further level.
      step: (state, *batches) -> (state, metrics), pure.
      batches: the batches that the step takes.
      cadence: the weight steps at which the program is due.
      cost: cost of one step, in evaluations of one batch's gradient.
      init: key -> initial state of a further level in `SearchState.levels`; None for
        "alpha" and "weights".
    """

    name: str
    step: Callable
    batches: Batches
    cadence: Cadence = Cadence()
    cost: float = 1.0
    init: Callable | None = None


class Direction(NamedTuple):
    """A rule that moves alpha.

    Attributes:
      name: name of the estimator, for logs and results.
      init: (arch, key) -> arch_opt.
      step: (state, train_batches [M, ...], val_batch, key) -> (arch, arch_opt, metrics).
      cost: cost of one step, in evaluations of one batch's gradient.
      held: part of `cost` that the compiled program contains, with the body of each
        loop counted once; 0: all of it.
      inner_steps: M, number of training batches that a step takes.
      inner_part: "weights" or "arch", the half of the data with the training batches.
      split: "batch" or "candidates", the work that is divided among devices.
      remark: metrics of a line of the log -> a sentence on a step that has failed at
        what it claims, and on the setting that mends it; None: nothing to say.
    """

    name: str
    init: Callable
    step: Callable
    cost: float
    inner_steps: int = 1
    inner_part: str = "weights"
    split: str = "batch"
    held: float = 0.0
    remark: Remark = lambda metrics: None


class Smoothing(NamedTuple):
    """A perturbation of the operator weights in every weight step, see `perturb`.

    Attributes:
      name: name of the perturbation, appended to the name of the estimator.
      perturbation: projection -> (loss_of_ops, ops, key, eps) -> ops.
      eps: progress -> eps, the size of the perturbation.
      cost: added cost of a weight step, in evaluations of one batch's gradient.
    """

    name: str
    perturbation: Callable
    eps: Callable
    cost: float


class Stage(NamedTuple):
    """One of several searches that run in turn, each from scratch.

    Attributes:
      name: name of its phase.
      outcome: name of its result; "genotype" in the last stage.
      space: (space, outcome of the stage before or None) -> its space.
      supernet: fields of `config.search` that differ in this stage, such as cells or
        epochs (P-DARTS).
      change: Algorithm -> that of this stage.
      finish: (arch, space) -> JSON, from which the next stage can be rebuilt; None: the
        genotype.
    """

    name: str = "search"
    outcome: str = "genotype"
    space: Callable = lambda space, previous: space
    supernet: Mapping[str, Any] = MappingProxyType({})
    change: Callable = lambda algorithm: algorithm
    finish: Callable | None = None


class Algorithm(NamedTuple):
    """A search as independent choices; `algorithms` builds them from names.

    Attributes:
      direction: `Bilevel` -> `Direction`.
      every: weight steps between two moves of alpha.
      relaxation: (space, spread of the initial values) -> `Relaxation`.
      edge: (primitives, channels, stride, style) -> module: what an edge computes.
      penalties: each (space, relaxation, `Domain.final`) -> `Penalty`.
      smoothing: of the weight step. Alpha and its look-ahead use clean mixing weights.
      levels: (`Bilevel`, smooth) -> further programs. They train other networks at the
        mixing weights smooth(mix, loss_of_mix, key, `At`).
      stages: at least one.
      weights_first: True: in every round the weights move before alpha (GDAS).
    """

    direction: Callable[..., Direction]
    every: int = 1
    relaxation: Callable[[CellSpace, float], Relaxation] = softmax
    edge: Callable = Mixed
    penalties: tuple[Callable, ...] = ()
    smoothing: Smoothing | None = None
    levels: Callable[..., tuple[Program, ...]] = lambda problem, smooth: ()
    stages: tuple[Stage, ...] = (Stage(),)
    weights_first: bool = False


class Search(NamedTuple):
    """A search algorithm on one problem. All functions are pure.

    Attributes:
      problem: the bilevel problem.
      direction: the rule that moves alpha.
      init: key -> `SearchState`.
      programs: the programs, in the order in which they run.
    """

    problem: Bilevel
    direction: Direction
    init: Callable
    programs: tuple[Program, ...]

    @property
    def name(self) -> str:
        """The name of the estimator."""
        return self.direction.name

    def program(self, name: str) -> Program:
        """The program of this name."""
        return next(own for own in self.programs if own.name == name)

    def at(self, state: SearchState) -> At:
        """The place of the last weight step, without randomness; for evaluation."""
        return self.problem.training.at(jnp.maximum(state.step - 1, 0), None)

    def mix(self, state: SearchState) -> Mix:
        """Mixing weights without randomness; used for evaluation and discretisation."""
        return self.problem.relaxation.mix(state.arch, self.at(state))

    def genotype(self, mix: Mix, most_skips: int | None = None) -> Genotype:
        """The architecture derived from mixing weights, see `rules.discretise`."""
        problem = self.problem
        return discretise(mix, problem.space, most_skips, problem.relaxation.choose)

    def readings(self, mix: Mix, most_skips: int | None = None) -> dict[str, Genotype]:
        """The architectures derived with and without `none`, see `CellSpace.readings`.

        A search that moves between architectures has only the reading of its space.
        """
        own, relaxation = self.problem.space, self.problem.relaxation
        return {
            name: discretise(mix, space, most_skips, relaxation.choose)
            for name, space in own.readings().items()
            if relaxation.continuous or space.none == own.none
        }

    def gradients(self, steps: int) -> float:
        """Number of gradients of one batch in the first `steps` weight steps.

        Evaluations by penalties and monitors are not counted.
        """
        return sum(own.cadence.times(steps) * own.cost for own in self.programs)
