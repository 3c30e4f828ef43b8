"""Search: a bilevel problem on a supernet, as pure steps.

    space x relaxation x architecture direction x cadence -> Search(init, steps, cadence)

An algorithm is the sentence that picks them; see the files beside this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from nasjax import parallel
from nasjax.keys import derive
from nasjax.nets import Model
from nasjax.relax import Arch, Relaxation
from nasjax.spaces import CellSpace


class SearchState(NamedTuple):
    """All that a search is, as one pytree.

    Attributes:
      step: weight steps so far, int32.
      key: typed key of the run; never consumed, keys are derived from it by name.
      w: network weights.
      batch_stats: running statistics of batch norm.
      arch: raw architecture parameters, cell type -> [E, O].
      weight_opt: state of the weight optimiser.
      arch_opt: state of the architecture direction.
    """

    step: Array
    key: Array
    w: Any
    batch_stats: Any
    arch: Arch
    weight_opt: Any
    arch_opt: Any


class Cadence(NamedTuple):
    """When alpha moves: before weight step s if s >= warmup and s is a multiple of
    `every`.

    >>> [s for s in range(10) if Cadence(warmup=4, every=2).due(s)]
    [4, 6, 8]
    """

    warmup: int = 0
    every: int = 1

    def due(self, step: int) -> bool:
        """Whether an architecture step comes before weight step `step`."""
        return step >= self.warmup and step % self.every == 0


class Search(NamedTuple):
    """A search algorithm on one problem. All functions are pure.

    Attributes:
      init: key -> SearchState.
      weight_step: (state, batch) -> (state, metrics).
      arch_step: (state, train_batches [M, ...], val_batch) -> (state, metrics).
      cadence: when arch_step is due.
      inner_steps: M, how many training batches arch_step takes.
      mix: arch -> mixing weights; what is evaluated, drawn and discretised.
      estimator: how alpha's direction is found; logs and results carry this name.
    """

    init: Callable
    weight_step: Callable
    arch_step: Callable
    cadence: Cadence
    inner_steps: int
    mix: Callable
    estimator: str


class Problem(NamedTuple):
    """What an algorithm is given to search on.

    Attributes:
      space: the cell space.
      model: its supernet.
      image_shape: (H, W, C).
      sgd: learning rate (number, traced scalar or schedule) -> optimiser of w.
      rate: schedule of w's learning rate, by weight step.
      steps_per_epoch: weight steps in an epoch.
      epochs: of the search.
      warmup_epochs: epochs in which alpha rests.
      axis: mapped axis to average losses over, see `nasjax.parallel`.
    """

    space: CellSpace
    model: Model
    image_shape: tuple[int, int, int]
    sgd: Callable
    rate: Callable
    steps_per_epoch: int
    epochs: int
    warmup_epochs: int
    axis: str | None = None

    def cadence(self, every: int) -> Cadence:
        """Alpha moves every `every` weight steps, after warm-up."""
        return Cadence(self.warmup_epochs * self.steps_per_epoch, every)


class Losses(NamedTuple):
    """The losses of a supernet, all (w, arch, batch) -> scalar or with metrics.

    batch is a dictionary: image [B, H, W, C], label [B], key [B] (one per example),
    and batch_stats, which is only read. All in training mode, so that batch norm uses
    the moments of the batch.

    Attributes:
      loss: the scalar.
      with_aux: the same with (batch_stats, accuracy), for the weight step.
    """

    loss: Callable
    with_aux: Callable


class Direction(NamedTuple):
    """How alpha moves.

    Attributes:
      name: of the estimator.
      init: (arch, key) -> arch_opt.
      step: (state, train_batches, val_batch, key) -> (arch, arch_opt, metrics).
      inner_steps: M, training batches that a step takes.
    """

    name: str
    init: Callable
    step: Callable
    inner_steps: int = 1


def losses(problem: Problem, relaxation: Relaxation) -> Losses:
    """The cross-entropy of the supernet as a function of weights and alpha."""

    def with_aux(w, arch, batch):
        variables = {"params": w, "batch_stats": batch["batch_stats"]}
        mix = relaxation(arch, batch["mix_key"])
        out, stats = problem.model.apply(variables, mix, batch["image"], train=True)
        return cross_entropy(out.logits, batch["label"]), (
            stats,
            accuracy(out.logits, batch["label"]),
        )

    averaged = parallel.averaged(with_aux, problem.axis)
    return Losses(lambda w, arch, batch: averaged(w, arch, batch)[0], averaged)


def bilevel(
    problem: Problem,
    weight_losses: Losses,
    direction: Direction,
    relaxation: Relaxation,
    cadence: Cadence,
    init_arch: Callable | None = None,
) -> Search:
    """A search that trains w on its own loss and moves alpha by a direction.

    Args:
      problem: space, supernet, images and weight optimiser.
      weight_losses: descended by w; their relaxation may differ from `relaxation`
        (perturbed, or sampled).
      direction: of alpha.
      relaxation: alpha -> mixing weights, as evaluated and discretised.
      cadence: when alpha moves.
      init_arch: key -> arch; None for 1e-3 * N(0, 1), as DARTS.
    """
    init_arch = init_arch or normal_arch(problem.space)
    weight_optimizer = problem.sgd(problem.rate)

    def init(key: Array) -> SearchState:
        images = jnp.zeros((1, *problem.image_shape))
        variables = problem.model.init(derive(key, "weights"), images)
        arch = init_arch(derive(key, "alpha"))
        w = variables["params"]
        return SearchState(
            step=jnp.zeros((), jnp.int32),
            key=key,
            w=w,
            batch_stats=variables["batch_stats"],
            arch=arch,
            weight_opt=weight_optimizer.init(w),
            arch_opt=direction.init(arch, derive(key, "direction")),
        )

    def weight_step(state: SearchState, batch):
        batch = _with_state(batch, state, "weight mix")
        descend = jax.value_and_grad(weight_losses.with_aux, has_aux=True)
        (loss, (stats, hits)), grads = descend(state.w, state.arch, batch)
        updates, opt = weight_optimizer.update(grads, state.weight_opt, state.w)
        state = state._replace(
            step=state.step + 1,
            w=optax.apply_updates(state.w, updates),
            batch_stats=stats,
            weight_opt=opt,
        )
        return state, {"loss": loss, "accuracy": hits}

    def arch_step(state: SearchState, train_batches, val_batch):
        repeat = lambda leaf: jnp.broadcast_to(
            leaf, (direction.inner_steps, *leaf.shape)
        )
        stats = jax.tree.map(repeat, state.batch_stats)
        mix_key = derive(state.key, "train mix", state.step)
        mix_keys = jax.random.split(mix_key, direction.inner_steps)
        train_batches = {**train_batches, "batch_stats": stats, "mix_key": mix_keys}
        val_batch = _with_state(val_batch, state, "val mix")
        key = derive(state.key, "arch", state.step)
        arch, opt, metrics = direction.step(state, train_batches, val_batch, key)
        return state._replace(arch=arch, arch_opt=opt), metrics

    return Search(
        init,
        weight_step,
        arch_step,
        cadence,
        direction.inner_steps,
        lambda arch: relaxation(arch, None),
        direction.name,
    )


def normal_arch(space: CellSpace, scale: float = 1e-3) -> Callable:
    """key -> alpha of scale * N(0, 1), [E, O] for every cell type."""
    shape = (len(space.edges), len(space.primitives))

    def init(key: Array) -> Arch:
        keys = jax.random.split(key, len(space.types))
        return {
            kind: scale * jax.random.normal(k, shape)
            for kind, k in zip(space.types, keys, strict=True)
        }

    return init


def _with_state(batch: dict, state: SearchState, name: str) -> dict:
    return {
        **batch,
        "batch_stats": state.batch_stats,
        "mix_key": derive(state.key, name, state.step),
    }


def cross_entropy(logits: Array, label: Array) -> Array:
    """Mean cross-entropy of logits [B, classes] and integer labels [B]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


def accuracy(logits: Array, label: Array) -> Array:
    """Fraction of the batch whose largest logit is the label's."""
    return (logits.argmax(-1) == label).mean()
