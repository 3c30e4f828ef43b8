"""The programs of a search, assembled from an algorithm and a problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.engine.devices import Devices
from nasjax.search.base import (
    Algorithm,
    Batches,
    Cadence,
    Direction,
    Program,
    Search,
    SearchState,
    Smoothing,
)
from nasjax.search.bilevel import Bilevel, Training, bilevel, trained
from nasjax.spaces import CellSpace
from nasjax.spaces.mix import Mix
from nasjax.tasks.base import At, Network, Task


def search(
    algorithm: Algorithm,
    space: CellSpace,
    task: Callable[[str | None], Task],
    training: Training,
    devices: Devices,
    spread: float = 1e-3,
    final: Any = None,
) -> Search:
    """The search that runs an algorithm on a problem.

    Args:
      algorithm: the algorithm of one stage.
      space: the cell space.
      task: mapped axis that batch norm averages over, or None -> the task.
      training: of the weights.
      devices: what steps are split over.
      spread: of alpha's initial values.
      final: the network that is retrained, for penalties, see `Domain.final`.
    """
    relaxation = algorithm.relaxation(space, spread)
    penalties = [made(space, relaxation, final) for made in algorithm.penalties]
    problem = bilevel(task, space, relaxation, training, devices, penalties)
    if problem.task.stream and len(devices.where) > 1:
        raise UserError(
            f"{len(devices.where)} devices cannot share a stream, whose batches depend on "
            "one another; set --config.devices=1."
        )
    direction, smoothing = algorithm.direction(problem), algorithm.smoothing
    named = [direction.name, *(penalty.name for penalty in penalties)]
    if smoothing:
        named.append(smoothing.name)
    direction = direction._replace(name="_".join(named))
    smooth = _smooth(problem, smoothing)
    extra = smoothing.cost if smoothing else 0
    warmup = training.warmup_epochs * training.steps_per_epoch
    weights = Program(
        "weights",
        _weight_step(problem, smooth),
        in_order(),
        cost=1 + extra,
    )
    cadence, stream = Cadence(warmup, algorithm.every), problem.task.stream
    alpha = Program(
        "alpha",
        _alpha_step(problem, direction),
        _look_ahead(direction, cadence, stream is not None),
        cadence,
        direction.cost,
        (lambda key: problem.task.init(key)[1][stream]) if stream else None,
    )
    levels = [
        own._replace(cost=own.cost + extra) for own in algorithm.levels(problem, smooth)
    ]
    programs: tuple[Program, ...] = (alpha, weights)
    if algorithm.weights_first:
        programs = (weights, _after_weights(alpha))
    programs = (*programs, *map(_after_weights, levels))

    def init(key: Array) -> SearchState:
        network = problem.network(derive(key, "weights"))
        arch = relaxation.init(derive(key, "alpha"))
        return SearchState(
            step=jnp.zeros((), jnp.int32),
            key=key,
            w=network.w,
            batch_stats=network.batch_stats,
            arch=arch,
            weight_opt=network.opt,
            arch_opt=direction.init(arch, derive(key, "direction")),
            levels={own.name: own.init(key) for own in programs if own.init},
        )

    return Search(problem, direction, init, programs)


def in_order() -> Batches:
    """A batch of the weights' half in the order of epochs."""

    def draw(task: Task, data, state: SearchState):
        key = derive(state.key, "weight batch", state.step)
        order = derive(state.key, "order")
        return (task.draw(data["weights"], key, state.step, order),)

    return Batches(draw, (0,))


def _after_weights(program: Program) -> Program:
    """A program that runs after the weights' and sees the number of the same step."""

    def before(state: SearchState) -> SearchState:
        return state._replace(step=state.step - 1)

    def draw(task: Task, data, state: SearchState):
        return program.batches.draw(task, data, before(state))

    def step(state: SearchState, *batches):
        state, metrics = program.step(before(state), *batches)
        return state._replace(step=state.step + 1), metrics

    batches = program.batches._replace(draw=draw)
    return program._replace(step=step, batches=batches)


def _look_ahead(direction: Direction, cadence: Cadence, stream: bool) -> Batches:
    """M training batches and one validation batch; of a stream the next in order."""

    def draw(task: Task, data, state: SearchState):
        def one(half: str, key: Array):
            return task.draw(data[half], key, state.step, None)

        key = derive(state.key, "look-ahead batches", state.step)
        keys = jax.random.split(key, direction.inner_steps)
        train = jax.vmap(lambda key: one(direction.inner_part, key))(keys)
        key = derive(state.key, "validation batch", state.step)
        if stream:
            order = derive(state.key, "validation order")
            index = cadence.before(state.step)
            return train, task.draw(data["arch"], key, index, order)
        return train, one("arch", key)

    return Batches(draw, (None, None) if direction.split == "candidates" else (1, 0))


def _smooth(problem: Bilevel, smoothing: Smoothing | None) -> Callable:
    """(mix, loss_of_mix, key, at) -> mix, clean or perturbed, for a step of weights."""
    if smoothing is None:
        return lambda mix, loss_of_mix, key, at: mix
    perturbation = smoothing.perturbation(problem.relaxation.project)

    def smooth(mix: Mix, loss_of_mix: Callable, key: Array, at: At) -> Mix:
        def around(ops):
            return {kind: mix[kind]._replace(ops=own) for kind, own in ops.items()}

        ops = {kind: own.ops for kind, own in mix.items()}
        loss = lambda ops: loss_of_mix(around(ops))
        return around(perturbation(loss, ops, key, smoothing.eps(at.progress)))

    return smooth


def _weight_step(problem: Bilevel, smooth: Callable) -> Callable:
    """w <- SGD(w, grad_w L_train(w, mix)), at clean or perturbed mixing weights."""
    relaxation, training = problem.relaxation, problem.training
    optimizer = training.optimizer(training.rate)

    def step(state: SearchState, batch):
        key = derive(state.key, "weight mix", state.step)
        batch = problem.placed(batch, state, key)
        mix = smooth(
            relaxation.mix(state.arch, batch["at"]),
            lambda mix: problem.eval_loss(state.w, mix, batch),
            derive(state.key, "perturbation", state.step),
            batch["at"],
        )
        network = Network(state.w, state.batch_stats, state.weight_opt)
        network, metrics = trained(problem.with_aux, optimizer, network, mix, batch)
        state = state._replace(
            step=state.step + 1,
            w=network.w,
            batch_stats=network.batch_stats,
            weight_opt=network.opt,
        )
        return state, metrics

    return step


def _alpha_step(problem: Bilevel, direction: Direction) -> Callable:
    """The step that moves alpha by a direction."""
    task, relaxation = problem.task, problem.relaxation

    def step(state: SearchState, train_batches, val_batch):
        key = derive(state.key, "train mix", state.step)
        keys = jax.random.split(key, direction.inner_steps)
        place = lambda batch, key: problem.placed(batch, state, key)
        train_batches = jax.vmap(place)(train_batches, keys)
        val_batch = place(val_batch, derive(state.key, "val mix", state.step))
        key = derive(state.key, "arch", state.step)
        if task.stream:
            own = {**state.batch_stats, task.stream: state.levels["alpha"]}
            val_batch["batch_stats"] = own
            mix = relaxation.mix(state.arch, val_batch["at"])
            _, after = task.outputs(state.w, mix, val_batch, True)
            levels = {**state.levels, "alpha": after[task.stream]}
            state = state._replace(levels=levels)
        arch, opt, metrics = direction.step(state, train_batches, val_batch, key)
        return state._replace(arch=arch, arch_opt=opt), metrics

    return step
