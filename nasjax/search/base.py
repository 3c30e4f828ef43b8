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

from nasjax.core.keys import derive
from nasjax.engine import parallel
from nasjax.nets import Model
from nasjax.saliency import Attack
from nasjax.search.losses import losses
from nasjax.search.price import Price
from nasjax.search.relax import Arch, Relaxation, identity, initial_alpha, softmax
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
      second: a second `Network`, of searches that train two.
    """

    step: Array
    key: Array
    w: Any
    batch_stats: Any
    arch: Arch
    weight_opt: Any
    arch_opt: Any
    second: Any = ()


class Network(NamedTuple):
    """What a network's training changes: w, batch_stats, opt."""

    w: Any
    batch_stats: Any
    opt: Any


class Cadence(NamedTuple):
    """When a step is due, alpha's before weight step s, others after it: if s >= warmup
    and s is a multiple of `every`.

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


class Further(NamedTuple):
    """A step of a cadence of its own, after a weight step and on the same batch.

    Attributes:
      name: of its program.
      step: (state, batch) -> (state, metrics).
      cadence: when it is due, counted in weight steps.
      cost: in evaluations of one batch's gradient.
    """

    name: str
    step: Callable
    cadence: Cadence
    cost: float


class Search(NamedTuple):
    """A search algorithm on one problem. All functions are pure.

    Attributes:
      init: key -> SearchState.
      weight_step: (state, batch) -> (state, metrics).
      arch_step: (state, train_batches [M, ...], val_batch) -> (state, metrics).
      cadence: when arch_step is due.
      mix: arch -> mixing weights; what is evaluated, drawn and discretised.
      direction: how alpha moves, and what an architecture step takes and costs.
      weight_cost: of a weight step, in evaluations of one batch's gradient.
      further: steps of other levels.
    """

    init: Callable
    weight_step: Callable
    arch_step: Callable
    cadence: Cadence
    mix: Callable
    direction: Direction
    weight_cost: float = 1.0
    further: tuple[Further, ...] = ()

    def gradients(self, steps: int) -> float:
        """Evaluations of one batch's gradient in the first `steps` weight steps.

        Without `collapse.penalty` and the measurements of `collapse.interval`.
        """
        moves = self.cadence.times(steps) * self.direction.cost
        rest = sum(each.cadence.times(steps) * each.cost for each in self.further)
        return steps * self.weight_cost + moves + rest


class Smoothing(NamedTuple):
    """A perturbation of the mixing weights in every weight step, see `nasjax.search.perturb`.

    Attributes:
      perturbation: (loss_of_mix, mix, key, eps) -> mix.
      eps: epoch -> eps.
      cost: of a weight step more, in evaluations of one batch's gradient.
    """

    perturbation: Callable
    eps: Callable
    cost: float


class Problem(NamedTuple):
    """What an algorithm is given to search on.

    Attributes:
      space: the cell space.
      model: its supernet.
      image_shape: (H, W, C).
      sgd: (learning rate: number, traced scalar or schedule; clip=True) -> optimiser of
        w. Without clipping the state has the same structure.
      rate: schedule of w's learning rate, by weight step.
      steps_per_epoch: weight steps in an epoch.
      epochs: of the search.
      warmup_epochs: epochs in which alpha rests.
      axis: mapped axis to average losses over, see `nasjax.engine.parallel`.
      relaxation: alpha -> mixing weights.
      init_arch: key -> arch; None: 1e-3 * N(0, 1), as DARTS.
      drop_path: probability in the last epoch, ramped up from 0, as in retraining.
      auxiliary: weight of the auxiliary head's loss in the training loss.
      candidates: how the candidates of a zero-order step are evaluated, see
        `parallel.over_candidates`.
      whole: the same problem for steps that take whole batches on every device; None
        where there is no mapped axis, and so no difference.
      price: of alpha's architecture, where that is part of the search.
      smoothing: of the weight step; every direction of alpha and every look-ahead uses
        the clean mixing weights.
      base: name of the search that is wrapped, where the algorithm is a wrapper.
      penalty: weight in alpha's loss of |H v|, H its Hessian in alpha and v a random
        unit vector (the explicit Hessian regularisation of SmoothDARTS, section 4.2).
      attack: how saliency is found on the images as they are normalised.
      saliency: what searches that look at it do with it: the config's part `saliency`.
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
    relaxation: Relaxation = softmax
    init_arch: Callable | None = None
    drop_path: float = 0.0
    auxiliary: float = 0.0
    candidates: Callable = parallel.in_chunks
    whole: Problem | None = None
    price: Price | None = None
    smoothing: Smoothing | None = None
    base: str = ""
    penalty: float = 0.0
    attack: Attack = Attack()
    saliency: Any = None

    def split(self, split: str) -> Problem:
        """The problem of a step whose "candidates", or whose "batch", is split over
        devices."""
        return (self.whole or self) if split == "candidates" else self

    def cadence(self, every: int) -> Cadence:
        """Alpha moves every `every` weight steps, after warm-up."""
        return Cadence(self.warmup_epochs * self.steps_per_epoch, every)


class Direction(NamedTuple):
    """How alpha moves.

    Attributes:
      name: of the estimator; logs and results carry it.
      init: (arch, key) -> arch_opt.
      step: (state, train_batches, val_batch, key) -> (arch, arch_opt, metrics).
      cost: of a step, in evaluations of one batch's gradient.
      held: of these, how many its program holds where some are repeated by loops; 0: all.
      inner_steps: M, training batches that a step takes.
      inner_part: "weights" or "arch", the part of the data they are drawn from.
      whole_batches: every device takes whole batches, because the step splits its
        candidates over them instead.
    """

    name: str
    init: Callable
    step: Callable
    cost: float
    inner_steps: int = 1
    inner_part: str = "weights"
    whole_batches: bool = False
    held: float = 0.0


def bilevel(
    problem: Problem,
    direction: Direction,
    cadence: Cadence,
    weight_relaxation: Relaxation | None = None,
    relaxation: Relaxation | None = None,
    init_arch: Callable | None = None,
) -> Search:
    """A search that trains w on its own loss and moves alpha by a direction.

    Args:
      problem: space, supernet, images and weight optimiser.
      direction: of alpha.
      cadence: when alpha moves.
      weight_relaxation: of the weight step, in the place of the problem's.
      relaxation: as evaluated and discretised, in the place of the problem's.
      init_arch: key -> arch, in the place of the problem's.
    """
    weight_relaxation = weight_relaxation or problem.relaxation
    smoothing = problem.smoothing
    # Perturbed mixing weights are given as they are.
    weight_losses = losses(problem, identity if smoothing else weight_relaxation)
    relaxation = relaxation or problem.relaxation
    init_arch = init_arch or problem.init_arch or initial_alpha(problem.space, 1e-3)
    weight_optimizer = problem.sgd(problem.rate)

    def init(key: Array) -> SearchState:
        network = initial(problem, derive(key, "weights"))
        arch = init_arch(derive(key, "alpha"))
        return SearchState(
            step=jnp.zeros((), jnp.int32),
            key=key,
            w=network.w,
            batch_stats=network.batch_stats,
            arch=arch,
            weight_opt=network.opt,
            arch_opt=direction.init(arch, derive(key, "direction")),
        )

    def weight_step(state: SearchState, batch):
        mix_key = derive(state.key, "weight mix", state.step)
        batch = with_state(problem, batch, state, mix_key)
        arch = state.arch
        if smoothing:
            arch = smoothing.perturbation(
                lambda mix: weight_losses.still(state.w, mix, batch),
                weight_relaxation(state.arch, batch["mix_key"]),
                derive(state.key, "perturbation", state.step),
                smoothing.eps(state.step // problem.steps_per_epoch),
            )
        network = Network(state.w, state.batch_stats, state.weight_opt)
        network, metrics = trained(
            weight_losses.with_aux, weight_optimizer, network, arch, batch
        )
        state = state._replace(
            step=state.step + 1,
            w=network.w,
            batch_stats=network.batch_stats,
            weight_opt=network.opt,
        )
        return state, metrics

    def arch_step(state: SearchState, train_batches, val_batch):
        keys = jax.random.split(
            derive(state.key, "train mix", state.step), direction.inner_steps
        )
        train_batches = jax.vmap(
            lambda batch, key: with_state(problem, batch, state, key)
        )(train_batches, keys)
        val_key = derive(state.key, "val mix", state.step)
        val_batch = with_state(problem, val_batch, state, val_key)
        key = derive(state.key, "arch", state.step)
        arch, opt, metrics = direction.step(state, train_batches, val_batch, key)
        return state._replace(arch=arch, arch_opt=opt), metrics

    return Search(
        init,
        weight_step,
        arch_step,
        cadence,
        lambda arch: relaxation(arch, None),
        direction,
        1 + (smoothing.cost if smoothing else 0),
    )


def initial(problem: Problem, key: Array) -> Network:
    """The supernet before its first step."""
    variables = problem.model.init(key, jnp.zeros((1, *problem.image_shape)))
    w = variables["params"]
    return Network(w, variables["batch_stats"], problem.sgd(problem.rate).init(w))


def trained(
    loss: Callable, optimizer, network: Network, arch: Any, batch: dict
) -> tuple[Network, dict[str, Array]]:
    """A network after one step on a batch, and its loss and accuracy before.

    loss: (w, arch, batch) -> (scalar, (batch_stats, accuracy)).
    """
    descend = jax.value_and_grad(loss, has_aux=True)
    (value, (stats, hits)), grads = descend(network.w, arch, batch)
    updates, opt = optimizer.update(grads, network.opt, network.w)
    network = Network(optax.apply_updates(network.w, updates), stats, opt)
    return network, {"loss": value, "accuracy": hits}


def with_state(
    problem: Problem, batch: dict, state: SearchState, mix_key: Array
) -> dict:
    """A batch with all that the losses look at, as it is at this state."""
    epoch = state.step // problem.steps_per_epoch
    return {
        **batch,
        "batch_stats": state.batch_stats,
        "mix_key": mix_key,
        "drop_path": problem.drop_path * epoch / problem.epochs,
    }
