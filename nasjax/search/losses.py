"""The losses of a supernet, as functions of weights, alpha and batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from nasjax.core.keys import derive
from nasjax.engine import parallel
from nasjax.hypergrad import hvp
from nasjax.search.relax import Relaxation
from nasjax.zeroth.base import ravel

if TYPE_CHECKING:
    from nasjax.search.base import Problem


class Losses(NamedTuple):
    """The losses of a supernet, all (w, arch, batch) -> scalar but for `outputs`.

    batch is a dictionary: image [B, H, W, C], label [B], key [B] (one per example, of
    drop path and noise), mix_key, drop_path, and batch_stats, which is only read. All
    in training mode, so that batch norm uses the moments of the batch.

    Attributes:
      train: the training loss, with that of an auxiliary head.
      val: the validation loss, of the classifier alone, with the penalty.
      with_aux: `train` with (batch_stats, accuracy), for the weight step.
      still: of the classifier in evaluation mode, so with the running moments.
      outputs: what `train` is a convex function of, for `hypergrad.ggn`: logits.
      of_outputs: (outputs, batch) -> `train`.
    """

    train: Callable
    val: Callable
    with_aux: Callable
    still: Callable
    outputs: Callable
    of_outputs: Callable


def losses(problem: Problem, relaxation: Relaxation | None = None) -> Losses:
    """Cross-entropies of the supernet as functions of weights and alpha.

    Args:
      problem: the supernet, and what its training is regularised by.
      relaxation: in the place of the problem's.
    """
    relaxation = relaxation or problem.relaxation

    def run(w, arch, batch):
        variables = {"params": w, "batch_stats": batch["batch_stats"]}
        mix = relaxation(arch, batch["mix_key"])
        drop_path = batch["drop_path"] if problem.drop_path else 0.0
        return problem.model.apply(
            variables, mix, batch["image"], train=True, key=batch.get("key"),
            drop_path=drop_path,
        )  # fmt: skip

    def of_outputs(out, batch):
        loss = cross_entropy(out.logits, batch["label"])
        if problem.auxiliary and out.auxiliary is not None:
            loss += problem.auxiliary * cross_entropy(out.auxiliary, batch["label"])
        return loss

    def with_aux(w, arch, batch):
        out, stats = run(w, arch, batch)
        hits = accuracy(out.logits, batch["label"])
        return of_outputs(out, batch), (stats, hits)

    def val(w, arch, batch):
        return cross_entropy(run(w, arch, batch)[0].logits, batch["label"])

    def still(w, arch, batch):
        variables = {"params": w, "batch_stats": batch["batch_stats"]}
        mix = relaxation(arch, batch["mix_key"])
        out, _ = problem.model.apply(
            variables, mix, batch["image"], train=False, key=batch.get("key")
        )
        return cross_entropy(out.logits, batch["label"])

    axis = problem.axis
    averaged = parallel.averaged(with_aux, axis)
    plain = parallel.averaged(val, axis)

    def penalised(w, arch, batch):
        v, restore = ravel(arch)
        v = jax.random.normal(derive(batch["mix_key"], "penalty"), v.shape, v.dtype)
        v = restore(v / jnp.linalg.norm(v))
        curved = hvp(lambda arch, *_: plain(w, arch, batch), arch, None, None, v)
        square = optax.tree.norm(curved, squared=True)
        norm = jnp.sqrt(square + jnp.finfo(square.dtype).tiny)  # smooth at 0
        return plain(w, arch, batch) + problem.penalty * norm

    return Losses(
        train=lambda w, arch, batch: averaged(w, arch, batch)[0],
        val=penalised if problem.penalty else plain,
        with_aux=averaged,
        still=parallel.averaged(still, axis),
        outputs=parallel.shared(lambda *at: run(*at)[0], axis),
        of_outputs=lambda out, batch: parallel.mean(of_outputs(out, batch), axis),
    )


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
    """Fraction of the batch whose largest logit is the label's."""
    return (logits.argmax(-1) == label).mean()
