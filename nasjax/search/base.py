"""Search: a bilevel problem on a supernet, as pure programs.

    relaxation x edge x direction x smoothing x penalties x levels x stages -> Algorithm
    Algorithm x space x task x training x devices -> Search(init, programs)

An algorithm is the sentence that picks them, see `nasjax.search.algorithms`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jax import Array

from nasjax.nets import Mixed
from nasjax.search.bilevel import Bilevel
from nasjax.search.relax import Relaxation, softmax
from nasjax.spaces import CellSpace
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.mix import Mix
from nasjax.spaces.rules import discretise
from nasjax.tasks.base import At


class SearchState(NamedTuple):
    """All that a search is, as one pytree.

    Attributes:
      step: weight steps so far, int32.
      key: typed key of the run; never consumed, keys are derived from it by name.
      w: network weights.
      batch_stats: running statistics of batch norm.
      arch: architecture parameters, as the relaxation makes them.
      weight_opt: state of the weight optimiser.
      arch_opt: state of the architecture direction.
      levels: of programs beyond these, name -> pytree.
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
    """When a program is due: at weight step s if s >= warmup and `every` divides s.

    >>> [s for s in range(10) if Cadence(warmup=4, every=2).due(s)]
    [4, 6, 8]
    """

    warmup: int = 0
    every: int = 1

    def due(self, step: int) -> bool:
        """Whether it is at weight step `step`."""
        return step >= self.warmup and step % self.every == 0

    def times(self, steps: int) -> int:
        """How often it is in the first `steps` weight steps."""
        return sum(map(self.due, range(steps)))


class Batches(NamedTuple):
    """The batches of a program.

    Attributes:
      draw: (task, data, state) -> tuple of batches. data: the halves "weights" and
        "arch" of the training data.
      axes: of each batch the axis that devices split, see `Devices.step`.
    """

    draw: Callable
    axes: tuple[int | None, ...]


class Program(NamedTuple):
    """A step of a search. The programs of a search run in their order.

    Attributes:
      name: "alpha", "weights", or that of a further level.
      step: (state, *batches) -> (state, metrics), pure.
      batches: that it takes.
      cadence: when it is due, counted in weight steps.
      cost: in evaluations of one batch's gradient.
      init: key -> its own part of `SearchState.levels`, of a further level.
    """

    name: str
    step: Callable
    batches: Batches
    cadence: Cadence = Cadence()
    cost: float = 1.0
    init: Callable | None = None


class Direction(NamedTuple):
    """How alpha moves.

    Attributes:
      name: of the estimator; logs and results carry it.
      init: (arch, key) -> arch_opt.
      step: (state, train_batches [M, ...], val_batch, key) -> (arch, arch_opt, metrics).
      cost: of a step, in evaluations of one batch's gradient.
      held: of these, how many its program holds where some are repeated by loops; 0: all.
      inner_steps: M, training batches that a step takes.
      inner_part: "weights" or "arch", the half of the data they are drawn from.
      split: "batch" or "candidates", what devices share out.
    """

    name: str
    init: Callable
    step: Callable
    cost: float
    inner_steps: int = 1
    inner_part: str = "weights"
    split: str = "batch"
    held: float = 0.0


class Smoothing(NamedTuple):
    """A perturbation of the operator weights in every weight step, see `perturb`.

    Attributes:
      name: appended to that of the estimator.
      perturbation: project: bool -> (loss_of_ops, ops, key, eps) -> ops.
      eps: progress -> eps.
      cost: of a weight step more, in evaluations of one batch's gradient.
    """

    name: str
    perturbation: Callable
    eps: Callable
    cost: float


class Stage(NamedTuple):
    """One search of several, each from scratch.

    Attributes:
      name: of its phase.
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
      levels: (`Bilevel`, warm-up) -> further programs.
      stages: at least one.
      weights_first: True: in every round the weights move before alpha (GDAS).
    """

    direction: Callable[..., Direction]
    every: int = 1
    relaxation: Callable[[CellSpace, float], Relaxation] = softmax
    edge: Callable = Mixed
    penalties: tuple[Callable, ...] = ()
    smoothing: Smoothing | None = None
    levels: Callable[[Bilevel], tuple[Program, ...]] = lambda problem: ()
    stages: tuple[Stage, ...] = (Stage(),)
    weights_first: bool = False


class Search(NamedTuple):
    """A search algorithm on one problem. All functions are pure.

    Attributes:
      problem: the bilevel problem.
      direction: how alpha moves.
      init: key -> SearchState.
      programs: in the order in which they run.
    """

    problem: Bilevel
    direction: Direction
    init: Callable
    programs: tuple[Program, ...]

    @property
    def name(self) -> str:
        """Of the estimator."""
        return self.direction.name

    def program(self, name: str) -> Program:
        """The program of this name."""
        return next(own for own in self.programs if own.name == name)

    def mix(self, state: SearchState) -> Mix:
        """Mixing weights without randomness; what is evaluated and discretised."""
        at = At(None, self.problem.training.progress(state.step))
        return self.problem.relaxation.mix(state.arch, at)

    def genotype(self, mix: Mix, most_skips: int | None = None) -> Genotype:
        """The architecture that is read off mixing weights, see `rules.discretise`."""
        problem = self.problem
        return discretise(mix, problem.space, most_skips, problem.relaxation.choose)

    def gradients(self, steps: int) -> float:
        """Evaluations of one batch's gradient in the first `steps` weight steps.

        Without penalties and what monitors evaluate.
        """
        return sum(own.cadence.times(steps) * own.cost for own in self.programs)
