"""What is measured while a run goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nasjax.data.augment import Augment, prepare
from nasjax.nets import Model
from nasjax.search.base import cross_entropy


def evaluation(model: Model, augment: Augment, batch: int) -> Callable:
    """A function that measures a model on a whole part, in evaluation mode.

    Returns:
      (variables, mix, part) -> {"loss", "accuracy"}; part holds "image" uint8
      [N, H, W, C] and "label" [N]; every example counts once.
    """

    def evaluate(variables, mix, part) -> dict[str, Array]:
        n = part["label"].shape[0]
        size = min(batch, n)
        rows = jnp.arange(-(-n // size) * size).reshape(-1, size)

        def one(total, row):
            index, real = jnp.minimum(row, n - 1), row < n
            images = prepare(part["image"][index], None, augment)
            out, _ = model.apply(variables, mix, images, train=False)
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


def mixing(mix: Mapping[str, np.ndarray], primitives: tuple[str, ...]) -> dict:
    """Signals of a search: alpha's entropy (nats) and the weight of skip and `none`.

    Args:
      mix: mixing weights [E, O] of every cell type.

    >>> mixing({"normal": np.array([[0.5, 0.5]])}, ("none", "skip_connect"))
    {'entropy_normal': 0.6931, 'skip_normal': 0.5, 'none_normal': 0.5}
    """
    signals = {}
    for kind, weights in mix.items():
        p = np.asarray(weights, np.float64)
        entropy = -(p * np.log(np.maximum(p, 1e-30))).sum(-1).mean()
        signals[f"entropy_{kind}"] = round(float(entropy), 4)
        for word, name in (("skip", "skip_connect"), ("none", "none")):
            if name in primitives:
                share = p[:, primitives.index(name)].mean()
                signals[f"{word}_{kind}"] = round(float(share), 4)
    return signals
