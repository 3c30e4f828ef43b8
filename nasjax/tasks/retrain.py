"""Retraining a genotype from scratch with the recipe of DARTS' `train.py`.

The recipe is SGD with momentum and weight decay, a cosine (on ImageNet: linear)
learning rate to 0, clipped gradients, cutout, drop path ramped from 0 by epoch, an
auxiliary loss of weight 0.4, and on ImageNet smoothed labels.

`reweighting` is SANAS' third level with the networks of a genotype: the first network,
trained as usual, finds the saliency of each image, and a second network learns the
reweighted images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from nasjax import saliency
from nasjax.core.keys import derive, per_example
from nasjax.data.augment import Augment, epoch_indices
from nasjax.engine import optim
from nasjax.engine.devices import Devices
from nasjax.engine.optim import Hyper
from nasjax.nets import Model
from nasjax.saliency import Attack
from nasjax.tasks.base import Retraining
from nasjax.tasks.images import accuracy, cross_entropy, draw


class Recipe(NamedTuple):
    """The settings of retraining, except the numbers of `Hyper`.

    Attributes:
      batch: number of images in a batch.
      schedule: "cosine" or "linear", schedule of the learning rate.
      warmup_epochs: number of warm-up epochs of "linear".
      label_smoothing: share of the target that is spread evenly over all classes.
      momentum: momentum of SGD.
      clip: largest global norm of the gradient; 0: no clipping.
      drop_path: p; the probability of drop path is p epoch / epochs, epochs counted
        from 0, as in DARTS' code. It is p (epochs - 1) / epochs in the last epoch.
      auxiliary: weight of the auxiliary head's loss.
    """

    batch: int
    schedule: str
    warmup_epochs: int
    label_smoothing: float
    momentum: float
    clip: float
    drop_path: float
    auxiliary: float

    @classmethod
    def of(cls, settings) -> Recipe:
        """That of the config's part `retrain`."""
        return cls(*(getattr(settings, name) for name in cls._fields))


class TrainState(NamedTuple):
    """The state of retraining.

    Attributes:
      step: number of steps taken, int32 scalar.
      key: typed key of the phase.
      w: network weights.
      batch_stats: running statistics of batch norm.
      opt: state of the optimiser.
    """

    step: Array
    key: Array
    w: Any
    batch_stats: Any
    opt: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The variables that `Model.apply` takes."""
        return {"params": self.w, "batch_stats": self.batch_stats}


class Training(NamedTuple):
    """The training of a model as pure functions.

    Attributes:
      init: key -> `TrainState`.
      step: (state, batch, hyper) -> (state, metrics).
    """

    init: Any
    step: Any


def training(
    model: Model,
    image_shape: tuple[int, ...],
    recipe: Recipe,
    steps_per_epoch: int,
    devices: Devices,
) -> Training:
    """Ordinary training of a model."""

    def optimizer(hyper: Hyper):
        if recipe.schedule == "linear":
            warmup = recipe.warmup_epochs
            rate = optim.linear(hyper.rate, hyper.epochs, steps_per_epoch, warmup)
        else:
            rate = optim.cosine(
                hyper.rate, hyper.rate_min, hyper.epochs, steps_per_epoch
            )
        return optim.sgd(rate, recipe.momentum, hyper.weight_decay, recipe.clip)

    def init(key: Array) -> TrainState:
        variables = model.init(derive(key, "weights"), jnp.zeros((1, *image_shape)))
        w, stats = variables["params"], variables["batch_stats"]
        opt = optimizer(Hyper(1, 0.0, 0.0, 0.0)).init(w)
        return TrainState(jnp.zeros((), jnp.int32), key, w, stats, opt)

    def with_aux(w, drop_path, batch):
        variables = {"params": w, "batch_stats": batch["batch_stats"]}
        images, label = batch["image"], batch["label"]
        out, stats = model.apply(
            variables, {}, images, train=True, key=batch["key"], drop_path=drop_path
        )
        smoothing = recipe.label_smoothing
        loss = cross_entropy(out.logits, label, smoothing)
        if out.auxiliary is not None:
            head = cross_entropy(out.auxiliary, label, smoothing)
            loss = loss + recipe.auxiliary * head
        return loss, (stats, accuracy(out.logits, label))

    averaged = devices.averaged(with_aux)

    def step(state: TrainState, batch, hyper: Hyper):
        epoch = state.step // steps_per_epoch
        drop_path = recipe.drop_path * epoch.astype(jnp.float32) / hyper.epochs
        batch = {**batch, "batch_stats": state.batch_stats}
        descend = jax.value_and_grad(averaged, has_aux=True)
        (loss, (stats, hits)), grads = descend(state.w, drop_path, batch)
        updates, opt = optimizer(hyper).update(grads, state.opt, state.w)
        w = optax.apply_updates(state.w, updates)
        state = state._replace(step=state.step + 1, w=w, batch_stats=stats, opt=opt)
        return state, {"loss": loss, "accuracy": hits}

    return Training(init, step)


def retraining(
    plain: Training,
    part: Mapping[str, Any],
    augment: Augment,
    batch: int,
    measure: Callable,
    held: Any,
    first: Any = None,
    images_of: Callable | None = None,
) -> Retraining:
    """A training on images, and its test.

    Args:
      plain: the training.
      part: "image" uint8 [N, H, W, C] and "label" int32 [N].
      augment: of training images.
      batch: number of images in a batch.
      measure: (variables, mix, part) -> scalars by name.
      held: the test part.
      first: variables of another network; then images are reweighted by the saliency
        that it finds. None: images as they are.
      images_of: (first, images, keys) -> reweighted images.
    """
    count = len(part["label"])

    def batches(data, state: TrainState):
        index = epoch_indices(derive(state.key, "order"), state.step, batch, count)
        key = derive(state.key, "batch", state.step)
        return draw(data, index, key, augment), data["first"]

    def step(state: TrainState, batch, found, hyper: Hyper):
        if images_of and found is not None:
            image = images_of(found, batch["image"], batch["key"])
            batch = {**batch, "image": image}
        return plain.step(state, batch, hyper)

    return Retraining(
        plain.init,
        step,
        batches,
        (0, None),
        {**part, "first": first},
        count // batch,
        lambda state: state.variables | ({} if first is None else {"first": first}),
        lambda variables, part: measure(variables, {}, part),
        held,
    )


def reweighting(model: Model, attack: Attack, mode: str) -> tuple[Callable, Model]:
    """Reweighted images, and inference on them (SANAS, appendix C).

    Returns:
      (first, images, keys) -> reweighted images [B, H, W, C]; the network with
      variables `first` finds the saliency, in evaluation mode and without labels;
      a model whose variables also contain such variables under "first": it computes
      saliency, then predicts on the reweighted images. If it is applied without keys,
      the attacks start from the same draws in every call.
    """

    def images_of(first, images: Array, keys: Array) -> Array:
        def logits(x):
            return model.apply(first, {}, x, train=False, key=keys)[0].logits

        delta = saliency.find(logits, images, keys, attack)
        return saliency.reweighted(images, delta, mode, attack.eps)

    def apply(variables, mix, images, *, train, key=None, drop_path=0.0):
        second = {k: v for k, v in variables.items() if k != "first"}
        keys = per_example(jax.random.key(0), len(images)) if key is None else key
        images = images_of(variables["first"], images, keys)
        return model.apply(
            second, mix, images, train=train, key=key, drop_path=drop_path
        )

    return images_of, Model(model.init, apply, model.auxiliary)
