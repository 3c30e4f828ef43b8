"""The estimated duration of a run: counts, times a small measurement on this machine.

One edge of the supernet is compiled with its gradient and run a few times, at its size
in the first cell. Compile time grows with the number of distinct network bodies, run
time with the size of the maps that edges fill.
"""

from __future__ import annotations

import functools
import itertools
import time
from typing import TYPE_CHECKING, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from nasjax.engine.compiling import compiled_programs, side_by_side
from nasjax.nets import lowering
from nasjax.nets.edges import EdgeFactory
from nasjax.nets.layers import Style
from nasjax.saliency import Attack
from nasjax.search.directions import FORWARD
from nasjax.search.saliency_level import attack_cost
from nasjax.spaces import CellSpace, Macro
from nasjax.spaces.mix import Weights
from nasjax.tasks.base import Maps

if TYPE_CHECKING:
    from nasjax.experiment.build import Experiment

RUNS = 20
LARGEST = 1 << 22  # numbers in the measured map; of a larger batch only a part is used
# Compile times, in units of one edge's: of a search, its programs, each distinct body,
# and the share added by each evaluation after the first; of retraining, each body.
SEARCH_PROGRAMS, SEARCH_BODY, HELD, RETRAIN_BODY = 13.0, 2.0, 0.105, 1.7
# Run times, in units of one edge's: a forward and backward pass through all edges, and
# through the operations of a genotype, which cost more than the average operation.
PASS, RETRAIN_PASS = 2.2, 5.7


class Edge(NamedTuple):
    """An edge with its gradient.

    Attributes:
      compiling: seconds to trace and compile it.
      running: seconds to run it, for one number of its map.
    """

    compiling: float
    running: float


@functools.cache
def measure(
    space: CellSpace,
    factory: EdgeFactory,
    channels: int,
    size: tuple[int, int],
    batch: int,
    spelling: str,
) -> Edge:
    """Compiles and runs an edge of the space on maps of this size."""
    edge = factory(space.primitives, channels, 1, Style(True, spelling))
    batch = max(min(batch, LARGEST // (size[0] * channels * size[1])), 1)
    x = jnp.ones((size[0], channels, size[1], batch))
    mix = Weights(jnp.ones(len(space.primitives)))
    shapes = jax.eval_shape(lambda: edge.init(jax.random.key(0), x, mix, True))
    given = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), nn.meta.unbox(shapes))

    def loss(params, x):
        variables = {**given, "params": params}
        y, _ = edge.apply(variables, x, mix, True, mutable="batch_stats")
        return jnp.square(y).sum()

    params = given.get("params", {})
    program = jax.jit(jax.grad(loss, argnums=(0, 1)))
    with compiled_programs("off"):  # a program from a cache has no compile time
        began = time.perf_counter()
        lower = functools.partial(program.lower, params, x)
        compiled = side_by_side({"edge": lower})["edge"]
        compiling = time.perf_counter() - began
    runs = []
    for _ in range(RUNS):
        began = time.perf_counter()
        jax.block_until_ready(compiled(params, x))
        runs.append(time.perf_counter() - began)
    return Edge(compiling, min(runs) / x.size)


def of(experiment: Experiment, maps: Maps) -> Edge:
    """`measure` of an edge of the experiment's supernet."""
    height, width = (maps.macro.map_sizes(side)[0] for side in maps.sides)
    spelling = lowering.resolve(experiment.config.lowering)
    channels, space = maps.macro.plan()[0].channels, experiment.space
    edge = experiment.algorithm.edge
    return measure(space, edge, channels, (height, width), maps.batch, spelling)


def seconds(
    experiment: Experiment, edge: Edge, maps: tuple[Maps, Maps]
) -> tuple[float, float, float]:
    """Seconds to compile the search, to compile the rest, and to run it all."""
    config, stages = experiment.config, len(experiment.algorithm.stages)
    search = experiment.begin(experiment.algorithm.stages[-1], None)
    training = search.problem.training
    own, final = maps
    images = len(jax.tree.leaves(experiment.domain.halves["arch"])[0])
    steps = training.epochs * training.steps_per_epoch
    kinds = [len(experiment.space.edges_of(kind)) for kind in experiment.space.types]
    edges = sum(kinds) / len(kinds)

    held = search.direction.held or search.direction.cost
    each = SEARCH_PROGRAMS + SEARCH_BODY * bodies(own.macro)
    searching = stages * each * (1 + HELD * (held - 1)) * edge.compiling
    passes = search.gradients(steps) + config.search.epochs * FORWARD * (
        images / own.batch
    )
    numbers = own.batch * filled(own.macro, own.sides)
    running = stages * passes * PASS * edges * numbers * edge.running
    if experiment.genotype:
        searching = running = 0.0

    settings, retraining = config.retrain, 0.0
    if settings.epochs:
        steps = attack_cost(Attack(config.saliency.steps))
        attacked = settings.reweighted * (1 + steps)
        programs = 1 + settings.random + 2 * bool(settings.reweighted)
        retraining = programs * RETRAIN_BODY * bodies(final.macro) * edge.compiling
        kept = len(experiment.space.targets) / len(experiment.space.primitives)
        numbers = final.batch * filled(final.macro, final.sides)
        times = settings.seeds + settings.random + attacked
        each = RETRAIN_PASS * kept * numbers * edge.running
        count = sum(
            len(jax.tree.leaves(half)[0]) for half in experiment.domain.halves.values()
        )
        running += times * settings.epochs * (count // final.batch) * each
    return searching, retraining, running


def bodies(macro: Macro) -> int:
    """Number of distinct bodies that the compiler sees."""
    groups = [plan for plan, _ in itertools.groupby(macro.plan())]
    return len(groups) + len(macro.reductions)


def filled(macro: Macro, sides: tuple[int, int]) -> int:
    """Count of numbers in the maps of one image that one edge of every cell fills.

    >>> filled(Macro(8, 3), (8, 8))
    896
    """
    maps = zip(*(macro.map_sizes(side) for side in sides), strict=True)
    return sum(
        plan.channels * height * width
        for plan, (height, width) in zip(macro.plan(), maps, strict=True)
    )
