"""Search and retraining as phases of the one loop: batches, programs, evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from ml_collections import ConfigDict

from nasjax.core.keys import derive, per_example
from nasjax.data.augment import Augment, epoch_indices, prepare, random_indices
from nasjax.data.splits import Part
from nasjax.engine import memory, parallel
from nasjax.engine.compiling import compiler_options
from nasjax.engine.loop import Phase
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import NOTHING, Programs, Store
from nasjax.engine.workdir import RunFolder
from nasjax.monitors.instruments import instruments
from nasjax.nets import Model
from nasjax.search import Problem, Search
from nasjax.spaces.genotype import Genotype, discretise
from nasjax.tasks import metrics
from nasjax.tasks.retrain import Training


def on_devices(part: Part, where: Sequence[jax.Device]) -> dict[str, Array]:
    """A part of the data, as it lives on the devices: uint8 images and labels."""
    return parallel.replicate({"image": part.image, "label": part.label}, where)


def search_phase(
    name: str,
    build: Callable[[Hyper], tuple[Problem, Search]],
    hyper: Hyper,
    weights: Part,
    arch: Part,
    augment: Augment,
    config: ConfigDict,
    key: Array,
    where: Sequence[jax.Device],
    folder: RunFolder,
    store: Store = NOTHING,
    truth: Callable[[Genotype], dict[str, float]] = lambda genotype: {},
    spent: float = 0.0,
) -> Phase:
    """The search as a phase: alpha moves when it is due, then the weights.

    build: what is searched on, and how, of numbers that may be traced.
    store: of compiled programs of this code, config and data.
    truth: accuracies that are known of a genotype; logged, used by nothing.
    spent: gradients that were evaluated before the phase.
    """
    problem, search = build(hyper)
    key = parallel.replicate(key, where)
    batch, mode = config.search.batch, config.parallel
    parts = {"weights": on_devices(weights, where), "arch": on_devices(arch, where)}
    data = {**parts, "hyper": parallel.replicate(hyper.arrays(), where)}
    sizes = {half: part["label"].shape[0] for half, part in parts.items()}
    space, direction = problem.space, search.direction

    def cut(data, state):
        epochs = data["hyper"].epochs
        return cutout_probability(
            config.search, state.step, problem.steps_per_epoch, epochs
        )

    def weight_batch(data, state):
        order = derive(state.key, "order")
        index = epoch_indices(order, state.step, batch, sizes["weights"])
        draw_key = derive(state.key, "weight batch", state.step)
        drawn = draw(data["weights"], index, draw_key, augment, cut(data, state))
        return drawn, data["hyper"]

    def arch_batches(data, state):
        def one(half: str, key: Array):
            index = random_indices(derive(key, "index"), batch, sizes[half])
            return draw(data[half], index, key, augment, cut(data, state))

        train_key = derive(state.key, "look-ahead batches", state.step)
        train_keys = jax.random.split(train_key, direction.inner_steps)
        val_key = derive(state.key, "validation batch", state.step)
        train = jax.vmap(lambda key: one(direction.inner_part, key))(train_keys)
        return train, one("arch", val_key), data["hyper"]

    def last_weight_batch(data, state):
        return weight_batch(data, state._replace(step=state.step - 1))

    def program(step_of: Callable, batches: Callable, *axes: int | None):
        """A step of the search that `build` makes of the traced numbers."""

        def step(state, *made):
            *batches, traced = made
            return step_of(build(traced)[1])(state, *batches)

        return parallel.data_parallel(step, batches, (*axes, None), where, mode)

    measure = metrics.evaluation(problem.model, augment, batch)
    interval = config.collapse.interval
    further = {each.name: index for index, each in enumerate(search.further)}
    programs = Programs(
        store.of("search", space, _shapes(data)),
        where,
        init=jax.jit(search.init),
        weight=program(lambda search: search.weight_step, weight_batch, 0),
        arch=program(
            lambda search: search.arch_step,
            arch_batches,
            *((None, None) if direction.whole_batches else (1, 0)),
        ),
        evaluate=jax.jit(
            lambda state, part: measure(
                {"params": state.w, "batch_stats": state.batch_stats},
                search.mix(state.arch),
                part,
            )
        ),
        instruments=jax.jit(instruments(problem, search, augment, config.collapse)),
        **{
            each: program(
                lambda search, index=index: search.further[index].step,
                last_weight_batch,
                0,
            )
            for each, index in further.items()
        },
    )
    # Of this start's last step that is not due every time, for the log alone.
    seen: dict[str, Array] = {}

    def compile(state) -> str:
        # The largest first: the others compile beside it.
        needed = {"arch": data, **dict.fromkeys(further, data), "weight": data}
        needed["evaluate"] = data["arch"]
        if interval:
            needed["instruments"] = data["arch"]
        arguments = {name: (state, part) for name, part in needed.items()}
        soon = "arch" if search.cadence.due(int(state.step)) else "weight"
        planned = programs.compile(arguments, soon, compiler_options())
        lower = (
            "lower --config.search.batch, --config.search.channels, or where there is "
            "one --config.arch.chunk (1), or set --config.remat=cell."
        )
        return memory.report(name, planned, where, lower)

    def step(state, index: int):
        if search.cadence.due(index):
            state, moved = programs["arch"](state, data)
            seen.update(moved)
        state, trained = programs["weight"](state, data)
        for each in search.further:
            if each.cadence.due(index):
                state, moved = programs[each.name](state, data)
                seen.update(moved)
        return state, {**seen, **trained}

    def evaluate(state):
        measured = programs["evaluate"](state, data["arch"])
        mix = jax.device_get(jax.jit(search.mix)(state.arch))
        genotype = discretise(mix, space, config.collapse.most_skips)
        line = {
            "phase": name,
            "estimator": direction.name,
            "step": int(state.step),
            "edges": {kind: space.edges_of(kind) for kind in space.types},
            "mix": {k: np.round(v, 5).tolist() for k, v in mix.items()},
        }
        folder.log(line)
        price = {} if problem.price is None else {"price": problem.price.of(state.arch)}
        epoch = int(state.step) // problem.steps_per_epoch - 1
        due = interval and (epoch % interval == 0 or epoch == problem.epochs - 1)
        return {
            "valid_loss": float(measured["loss"]),
            "valid_accuracy": float(measured["accuracy"]),
            "gradient_evaluations": spent + search.gradients(int(state.step)),
            **metrics.mixing(mix, genotype, space),
            **{f"true_{name}": known for name, known in truth(genotype).items()},
            **price,
            **(programs["instruments"](state, data["arch"]) if due else {}),
        }

    return Phase(
        name,
        problem.epochs * problem.steps_per_epoch,
        problem.steps_per_epoch,
        lambda: programs.initial(key),
        step,
        compile,
        evaluate,
        direction.name,
        shapes=lambda: programs.shapes("init", key),
        place=lambda state: parallel.replicate(state, where),
    )


def retrain_phase(
    name: str,
    training: Training,
    part: Part,
    augment: Augment,
    batch: int,
    hyper: Hyper,
    key: Array,
    where: Sequence[jax.Device],
    mode: str,
    store: Store = NOTHING,
    first: Any = None,
    reweight: Callable | None = None,
    place: Callable = parallel.replicate,
) -> Phase:
    """Training of a genotype's network. Test data are not seen here.

    Args:
      store: of compiled programs of this code, config, data and network.
      first: variables of another network that finds saliency.
      reweight: (first, images, keys) -> images, in the place of which it trains.
      place: puts arrays on the devices; `parallel.abstract` for a phase that is compiled
        and not run.
    """
    key = parallel.replicate(key, where)
    images = {"image": part.image, "label": part.label}
    data = place({**images, "first": first, "hyper": hyper.arrays()}, where)
    n = len(part.label)

    def train_batch(data, state):
        index = epoch_indices(derive(state.key, "order"), state.step, batch, n)
        draw_key = derive(state.key, "batch", state.step)
        return draw(data, index, draw_key, augment), data["first"], data["hyper"]

    def step(state, batch, first, traced):
        if reweight:
            image = reweight(first, batch["image"], batch["key"])
            batch = {**batch, "image": image}
        return training.step(state, batch, traced)

    programs = Programs(
        store.of("retrain", reweight is not None, _shapes(data)),
        where,
        init=jax.jit(training.init),
        step=parallel.data_parallel(step, train_batch, (0, None, None), where, mode),
    )

    def compile(state) -> str:
        arguments = {"step": (state, data)}
        planned = programs.compile(arguments, "step", compiler_options(level=1))
        lower = (
            "lower --config.retrain.batch or --config.retrain.channels, or set "
            "--config.remat=cell."
        )
        return memory.report(name, planned, where, lower)

    return Phase(
        name,
        hyper.epochs * (n // batch),
        n // batch,
        lambda: programs.initial(key),
        lambda state, index: programs["step"](state, data),
        compile,
        lambda state: {},
        shapes=lambda: programs.shapes("init", key),
        place=lambda state: place(state, where),
    )


def test_accuracy(
    model: Model,
    variables: Any,
    part: Part,
    augment: Augment,
    batch: int,
    where: Sequence[jax.Device],
    store: Store = NOTHING,
) -> float:
    """Accuracy of a retrained network on the test part, which is read only here."""
    arguments: tuple = (
        parallel.replicate(variables, where),
        {},
        on_devices(part, where),
    )
    programs = Programs(
        store.of("test", _shapes(arguments)),
        where,
        test=jax.jit(metrics.evaluation(model, augment, batch)),
    )
    programs.compile({"test": arguments}, "test", compiler_options(level=1))
    return float(programs["test"](*arguments)["accuracy"])


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.shape, tree)


def cutout_probability(
    settings, step: Array, steps_per_epoch: int, epochs: int | Array
) -> Any:
    """1, or with `search.cutout_ramp` from 0 in the first epoch to 1 in the last
    (R-DARTS, arXiv 1909.09656)."""
    last = jnp.maximum(epochs - 1, 1)
    return step // steps_per_epoch / last if settings.cutout_ramp else 1.0


def draw(
    part, index: Array, key: Array, augment: Augment, cutout_prob: Any = 1.0
) -> dict[str, Array]:
    """A batch: images as the network takes them, labels, and a key per example."""
    size = index.shape[0]
    keys = per_example(derive(key, "augment"), size)
    return {
        "image": prepare(part["image"][index], keys, augment, cutout_prob),
        "label": part["label"][index],
        "key": per_example(derive(key, "network"), size),
    }
