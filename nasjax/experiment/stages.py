"""The stages of a search: what each searches on, and what it hands to the next."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from nasjax import nets
from nasjax.core.errors import UserError
from nasjax.data.splits import Splits
from nasjax.engine import optim, parallel
from nasjax.saliency import Attack
from nasjax.search import ALGORITHMS, Problem, Search, relax
from nasjax.search import price as pricing
from nasjax.spaces import CellSpace, Macro
from nasjax.spaces.genotype import discretise

EDGES = ("pruned", "fixed", "searched")


class Stage(NamedTuple):
    """One search of several, each from scratch.

    Attributes:
      name: of its phase.
      begin: (outcome of the stage before, or None; numbers, which may be traced, or
        None for the config's) -> (Problem, Search).
      outcome: what its result is called: "genotype" for the last stage.
      finish: (Search, CellSpace, arch) -> that result, as JSON.
    """

    name: str
    begin: Callable[..., tuple[Problem, Search]]
    outcome: str
    finish: Callable[[Search, CellSpace, Mapping], Any]


def stages(
    config: ConfigDict,
    space: CellSpace,
    data: Splits,
    where: Sequence[jax.Device],
    attack: Attack,
) -> tuple[Stage, ...]:
    """One stage, or two where the edges are searched before the operators.

    `config.space.edges` says which: "pruned" (all are searched on, the strongest kept
    at the end), "fixed" or "searched" (Amended-DARTS, arXiv 1910.11831, section 3.1.2).

    Args:
      config: checked.
      space: with all edges.
      data: the split.
      where: the devices.
      attack: how saliency is found, in the normalisation of the search's images.
    """

    # Counted once: within a trace it could not be.
    costs = functools.cache(lambda on: _costs(config, on, data))

    def edge_search(previous, hyper=None):
        del previous
        spread = config.search.alpha_spread
        problem = _problem(
            config, space, data, where, attack, relax.paired_edges(space),
            relax.initial_pairs(space, spread), costs(space), hyper,
        )  # fmt: skip
        return problem, _algorithm(config, problem)

    def kept(search, space, arch):
        strongest = relax.strongest_pairs(arch, space)
        return {kind: [list(edge) for edge in own] for kind, own in strongest.items()}

    def operator_search(previous, hyper=None):
        on = space
        if config.space.edges == "fixed":
            on = space.fixed()
        elif config.space.edges == "searched":
            on = space.fixed()  # as many edges as there will be
            if previous is not None:
                edges = {k: [(s, t) for s, t in own] for k, own in previous.items()}
                on = space.keep(edges)
        spread = config.search.alpha_spread
        problem = _problem(
            config, on, data, where, attack, relax.softmax,
            relax.initial_alpha(on, spread), costs(on), hyper,
        )  # fmt: skip
        return problem, _algorithm(config, problem)

    def genotype(search, space, arch):
        mix = jax.device_get(search.mix(arch))
        return discretise(mix, space, config.collapse.most_skips).to_json()

    last = Stage("search", operator_search, "genotype", genotype)
    if config.space.edges == "searched":
        return Stage("edges", edge_search, "edges", kept), last
    return (last,)


def arch_settings(config: ConfigDict) -> ConfigDict:
    """How alpha moves: `config.arch`, of a wrapper its part for the base."""
    return config.arch.get(config.base) if config.base else config.arch


def has_head(weight: float, macro: Macro, image_shape: tuple[int, ...]) -> bool:
    """Whether there is an auxiliary head: it is asked for, and its map is 2x2."""
    side = macro.map_sizes(min(image_shape[:2]))[2 * macro.cells // 3]
    return weight > 0 and side >= 2


def _problem(
    config: ConfigDict,
    space: CellSpace,
    data: Splits,
    where: Sequence[jax.Device],
    attack: Attack,
    relaxation: relax.Relaxation,
    init_arch: Callable,
    costs,
    hyper: optim.Hyper | None,
) -> Problem:
    """What an algorithm searches on, as the config says."""
    settings = config.search
    hyper = hyper or optim.Hyper.of(settings)
    steps = len(data.weights.label) // settings.batch
    image_shape = data.weights.image.shape[1:]
    macro = Macro.of_images(
        space, settings.channels, settings.cells, image_shape, search=True
    )

    def supernet(axis: str | None):
        return nets.supernet(
            space,
            macro,
            len(data.classes),
            config.lowering,
            axis,
            config.remat,
            config.precision,
            has_head(settings.auxiliary, macro, image_shape),
        )

    axis = parallel.axis_name(config.parallel)
    problem = Problem(
        space=space,
        model=supernet(axis),
        image_shape=image_shape,
        sgd=lambda rate, clip=True: optim.sgd(
            rate,
            settings.momentum,
            hyper.weight_decay,
            settings.clip if clip else 0.0,
        ),
        rate=optim.cosine(hyper.rate, hyper.rate_min, hyper.epochs, steps),
        steps_per_epoch=steps,
        epochs=hyper.epochs,
        warmup_epochs=settings.warmup_epochs,
        axis=axis,
        relaxation=relaxation,
        init_arch=init_arch,
        drop_path=settings.drop_path,
        auxiliary=settings.auxiliary,
        candidates=parallel.over_candidates(where, config.parallel),
        price=_price(config, space, costs, relaxation),
        base=config.base,
        penalty=config.collapse.penalty,
        attack=attack,
        saliency=config.saliency,
    )
    if axis is None:
        return problem
    return problem._replace(whole=problem._replace(model=supernet(None), axis=None))


def _costs(config: ConfigDict, space: CellSpace, data: Splits):
    """What choices cost in the network that is retrained, if that is asked for."""
    settings = arch_settings(config)
    if not settings.get("budget", 0.0):
        return None
    image_shape = data.weights.image.shape[1:]
    retrain = config.retrain
    macro = Macro.of_images(space, retrain.channels, retrain.cells, image_shape)
    if settings.price == "macs":
        return pricing.multiply_adds(space, macro, len(data.classes), image_shape)
    return pricing.table(space, macro, settings.price)


def _price(config: ConfigDict, space: CellSpace, costs, relaxation):
    """The price of architectures, if that is asked for."""
    if costs is None:
        return None
    settings, (choices, fixed) = arch_settings(config), costs
    budget, weight = settings.budget, settings.budget_weight
    return pricing.price(space, relaxation, choices, fixed, budget, weight)


def _algorithm(config: ConfigDict, problem: Problem) -> Search:
    """The algorithm that the config names."""
    try:
        return ALGORITHMS[config.algorithm](problem, config.arch)
    except ValueError as error:  # a setting that the method itself refuses
        raise UserError(f"{error} Set it with --config.arch.NAME=VALUE.") from None
    except AttributeError as error:
        field = str(error.args[0]).splitlines()[0].strip('"')
        raise UserError(
            f"config.arch does not fit the algorithm {config.algorithm}: it lacks "
            f"{field}; start from a config of configs/ that has this algorithm."
        ) from None
