"""The bilevel problem of a search: its losses as functions of weights, alpha and batch.

alpha = argmin L_val(w*(alpha), alpha)  subject to  w*(alpha) = argmin L_train(w, alpha)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import optax
from jax import Array

from nasjax.engine.devices import Devices
from nasjax.search.relax import Relaxation
from nasjax.spaces import CellSpace
from nasjax.tasks.base import At, Network, Task


class Penalty(NamedTuple):
    """A term of alpha's loss.

    Attributes:
      name: name of the part of the sentence that adds the penalty.
      of: (val_loss, w, arch, batch) -> scalar. val_loss: the validation loss without
        penalties.
      depends: data besides the settings that the value depends on, compared by repr.
      report: arch -> scalars by name for the log, or None.
    """

    name: str
    of: Callable
    depends: Any = None
    report: Callable | None = None


class Training(NamedTuple):
    """The training of the weights of a supernet.

    Attributes:
      optimizer: (learning rate: number, traced scalar or schedule; clip=True) ->
        optimiser of w. The structure of its state does not depend on `clip`.
      rate: schedule of w's learning rate: weight step -> rate.
      epochs: number of epochs of the search.
      steps_per_epoch: number of weight steps in an epoch.
      warmup_epochs: number of epochs at the start in which alpha does not move.
    """

    optimizer: Callable
    rate: Callable
    epochs: Any
    steps_per_epoch: int
    warmup_epochs: int

    def at(self, step: Array, key: Array | None) -> At:
        """The place of a weight step. key: of the randomness of the relaxation."""
        return At(key, step // self.steps_per_epoch / self.epochs, self.epochs)


class Bilevel(NamedTuple):
    """The bilevel problem, as directions of alpha see it.

    Losses are functions (w, arch, batch) -> scalar of the global batch, on any number
    of devices. They run the supernet in training mode, in which batch norm uses the
    moments of the batch.

    Attributes:
      space: the cell space.
      task: the task of the supernet.
      relaxation: the relaxation on the space.
      training: the training of the weights.
      devices: the devices that a step is split over.
      train: the training loss.
      val: the validation loss, with the penalties.
      clean: the validation loss without them.
      with_aux: (w, mix, batch) -> (training loss, (batch_stats, scores)).
      eval_loss: (w, mix, batch) -> the criterion in evaluation mode, in which batch
        norm uses running moments.
      outputs: (w, arch, batch) -> the outputs of which `train` is a convex function,
        for `hypergrad.ggn`.
      of_outputs: (outputs, batch) -> the training loss.
      penalties: the penalties in `val`.
      candidates: the same problem for steps whose candidates are divided among devices;
        None: this problem is the one for such steps.
    """

    space: CellSpace
    task: Task
    relaxation: Relaxation
    training: Training
    devices: Devices
    train: Callable
    val: Callable
    clean: Callable
    with_aux: Callable
    eval_loss: Callable
    outputs: Callable
    of_outputs: Callable
    penalties: tuple[Penalty, ...] = ()
    candidates: Bilevel | None = None

    def split(self, split: str) -> Bilevel:
        """The problem of a step that divides "candidates" or "batch" among devices."""
        return (self.candidates or self) if split == "candidates" else self

    def network(self, key: Array) -> Network:
        """A newly initialised network."""
        w, batch_stats = self.task.init(key)
        return Network(
            w, batch_stats, self.training.optimizer(self.training.rate).init(w)
        )

    def placed(self, batch: dict, state: Any, key: Array) -> dict:
        """The batch with the fields "batch_stats" and "at" of a state, for the losses.

        key: typed key for the randomness of the relaxation.
        """
        at = self.training.at(state.step, key)
        return {**batch, "batch_stats": state.batch_stats, "at": at}


def bilevel(
    task: Callable[[str | None], Task],
    space: CellSpace,
    relaxation: Relaxation,
    training: Training,
    devices: Devices,
    penalties: Sequence[Penalty] = (),
) -> Bilevel:
    """The bilevel problem of a task under a relaxation.

    Args:
      task: mapped axis that batch norm averages over, or None -> the task.
      space: the cell space.
      relaxation: the relaxation of alpha.
      training: the training of the weights.
      devices: the devices that steps are split over.
      penalties: penalties to add to the validation loss.
    """
    on = task(devices.axis)

    def mixed(arch, batch):
        return relaxation.mix(arch, batch["at"])

    def with_aux(w, mix, batch):
        out, stats = on.outputs(w, mix, batch, True)
        return on.objective(out, batch), (stats, on.scores(out, batch))

    def of_alpha(w, arch, batch):
        return with_aux(w, mixed(arch, batch), batch)[0]

    def plain(w, arch, batch):
        return on.criterion(on.outputs(w, mixed(arch, batch), batch, True)[0], batch)

    def eval_loss(w, mix, batch):
        return on.criterion(on.outputs(w, mix, batch, False)[0], batch)

    def outputs(w, arch, batch):
        return on.outputs(w, mixed(arch, batch), batch, True)[0]

    clean = devices.averaged(plain)

    def val(w, arch, batch):
        loss = clean(w, arch, batch)
        for penalty in penalties:
            loss = loss + penalty.of(clean, w, arch, batch)
        return loss

    made = Bilevel(
        space=space,
        task=on,
        relaxation=relaxation,
        training=training,
        devices=devices,
        train=devices.averaged(of_alpha),
        val=val if penalties else clean,
        clean=clean,
        with_aux=devices.averaged(with_aux),
        eval_loss=devices.averaged(eval_loss),
        outputs=devices.shared(outputs),
        of_outputs=lambda out, batch: devices.mean(on.objective(out, batch)),
        penalties=tuple(penalties),
    )
    if devices.split == "candidates":
        return made
    alone = devices.splitting("candidates")
    other = bilevel(task, space, relaxation, training, alone, penalties)
    return made._replace(candidates=other)


def trained(
    loss: Callable, optimizer, network: Network, mix: Any, batch: dict
) -> tuple[Network, dict[str, Array]]:
    """A network after one step on a batch, and its loss and scores before the step.

    loss: (w, mix, batch) -> (scalar, (batch_stats, scores)).
    """
    descend = jax.value_and_grad(loss, has_aux=True)
    (value, (stats, scores)), grads = descend(network.w, mix, batch)
    updates, opt = optimizer.update(grads, network.opt, network.w)
    network = Network(optax.apply_updates(network.w, updates), stats, opt)
    return network, {"loss": value, **scores}
