"""Images with labels: their batches, losses and measures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax

from nasjax.core.keys import derive, per_example
from nasjax.data.augment import Augment, epoch_indices, prepare, random_indices
from nasjax.nets import Model
from nasjax.tasks.base import Metric, Task

METRIC = Metric("accuracy", True, "{:.2%}")


def images(
    model: Model,
    image_shape: tuple[int, int, int],
    augment: Augment,
    batch: int,
    steps_per_epoch: int,
    drop_path: float = 0.0,
    auxiliary: float = 0.0,
    cutout: Callable = lambda epoch: 1.0,
) -> Task:
    """Classification of images by a supernet.

    A batch has image [B, H, W, C], label [B], and key [B]: one typed key per example,
    for drop path and noise.

    Args:
      model: the supernet.
      image_shape: (H, W, C).
      augment: augmentation of training images.
      batch: number of images in a batch.
      steps_per_epoch: number of batches in an epoch.
      drop_path: p; the probability of drop path is p epoch / epochs, epochs counted
        from 0, as in DARTS' code. It is p (epochs - 1) / epochs in the last epoch.
      auxiliary: weight of the auxiliary head's loss in the training loss.
      cutout: epoch -> probability of applying cutout to an image.
    """

    def init(key: Array):
        variables = model.init(key, jnp.zeros((1, *image_shape)))
        return variables["params"], variables["batch_stats"]

    def outputs(w, mix, batch, train: bool):
        variables = {"params": w, "batch_stats": batch["batch_stats"]}
        chance = drop_path * batch["at"].progress if drop_path and train else 0.0
        return model.apply(
            variables, mix, batch["image"], train=train, key=batch.get("key"),
            drop_path=chance,
        )  # fmt: skip

    def criterion(out, batch):
        return cross_entropy(out.logits, batch["label"])

    def objective(out, batch):
        loss = criterion(out, batch)
        if auxiliary and out.auxiliary is not None:
            loss += auxiliary * cross_entropy(out.auxiliary, batch["label"])
        return loss

    def draw_batch(part, key: Array, step: Array, order: Array | None = None):
        count = part["label"].shape[0]
        if order is None:
            index = random_indices(derive(key, "index"), batch, count)
        else:
            index = epoch_indices(order, step, batch, count)
        return draw(part, index, key, augment, cutout(step // steps_per_epoch))

    def clean(part, key: Array, count: int):
        index = random_indices(derive(key, "index"), count, part["label"].shape[0])
        return {
            "image": prepare(part["image"][index], None, augment),
            "label": part["label"][index],
            "key": per_example(derive(key, "network"), count),
        }

    evaluate = evaluation(model, augment, batch)

    def measure(w, batch_stats, mix, part):
        return evaluate({"params": w, "batch_stats": batch_stats}, mix, part)

    return Task(
        init,
        outputs,
        objective,
        criterion,
        lambda out, batch: {"accuracy": accuracy(out.logits, batch["label"])},
        draw_batch,
        clean,
        measure,
        (augment.mean, augment.std),
    )


def draw(
    part, index: Array, key: Array, augment: Augment, cutout_prob: Any = 1.0
) -> dict[str, Array]:
    """A batch: prepared images, labels, and a key per example."""
    size = index.shape[0]
    keys = per_example(derive(key, "augment"), size)
    return {
        "image": prepare(part["image"][index], keys, augment, cutout_prob),
        "label": part["label"][index],
        "key": per_example(derive(key, "network"), size),
    }


def cutout_ramp(epochs: int | Array) -> Callable:
    """The schedule epoch -> probability, from 0 in the first epoch to 1 in the last
    (R-DARTS, arXiv 1909.09656)."""
    return lambda epoch: epoch / jnp.maximum(epochs - 1, 1)


def evaluation(model: Model, augment: Augment, batch: int) -> Callable:
    """A function that measures a model on a full part, in evaluation mode.

    Returns:
      (variables, mix, part) -> {"loss", "accuracy"}. part holds "image" uint8
      [N, H, W, C] and "label" [N]. Every example counts once, and gets the same noise
      in every evaluation.
    """
    noise = derive(jax.random.key(0), "evaluation")

    def evaluate(variables, mix, part) -> dict[str, Array]:
        n = part["label"].shape[0]
        size = min(batch, n)
        rows = jnp.arange(-(-n // size) * size).reshape(-1, size)

        def one(total, row):
            index, real = jnp.minimum(row, n - 1), row < n
            images = prepare(part["image"][index], None, augment)
            keys = jax.vmap(functools.partial(jax.random.fold_in, noise))(index)
            out, _ = model.apply(variables, mix, images, train=False, key=keys)
            label = part["label"][index]
            each = jax.vmap(lambda lo, la: cross_entropy(lo[None], la[None]))
            hits = out.logits.argmax(-1) == label
            sums = jnp.stack(
                [(each(out.logits, label) * real).sum(), (hits & real).sum()]
            )
            return total + sums, None

        total, _ = lax.scan(one, jnp.zeros(2), rows)
        return {"loss": total[0] / n, "accuracy": total[1] / n}

    return evaluate


def cross_entropy(logits: Array, label: Array, smoothing: float = 0.0) -> Array:
    """Mean cross-entropy of logits [B, classes] and integer labels [B].

    smoothing: share of the target that is spread evenly over all classes.
    """
    each = optax.softmax_cross_entropy_with_integer_labels(logits, label)
    if smoothing:
        even = -jax.nn.log_softmax(logits).mean(-1)
        each = (1 - smoothing) * each + smoothing * even
    return each.mean()


def accuracy(logits: Array, label: Array) -> Array:
    """The fraction of examples whose largest logit belongs to their label."""
    return (logits.argmax(-1) == label).mean()
