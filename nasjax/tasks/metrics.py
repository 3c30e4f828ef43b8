"""What is measured while a run goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nasjax.collapse import early_stopping
from nasjax.core.keys import derive
from nasjax.data.augment import Augment, prepare
from nasjax.nets import Model
from nasjax.nets.operations import is_parametric
from nasjax.search.losses import cross_entropy
from nasjax.spaces import CellSpace
from nasjax.spaces.genotype import Genotype


def evaluation(model: Model, augment: Augment, batch: int) -> Callable:
    """A function that measures a model on a whole part, in evaluation mode.

    Returns:
      (variables, mix, part) -> {"loss", "accuracy"}; part holds "image" uint8
      [N, H, W, C] and "label" [N]; every example counts once, with the noise that is
      its own in every evaluation.
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


def mixing(
    mix: Mapping[str, np.ndarray], genotype: Genotype, space: CellSpace
) -> dict[str, float]:
    """Signals of a search, with those of its collapse, of every cell type.

    entropy (nats), skip and none: alpha's entropy and the mean weights over the edges.
    kept_skips, parameter_free: of the genotype at this moment, the share of skip
    connections among its operators, and of operators that learn nothing. width, depth:
    of its cells, see `nasjax.collapse.early_stopping`. Where every cell has its own alpha all are
    means over the cells. Bi et al., arXiv 1910.11831, figures 1 and 8.

    Args:
      mix: mixing weights [E, O] of every cell type.
      genotype: what they are discretised to.
      space: of both.

    >>> from nasjax.spaces.genotype import discretise
    >>> from nasjax.spaces import darts
    >>> space = darts(("none", "skip_connect"))._replace(nodes=1, types=("normal",))
    >>> mix = {"normal": np.array([[0.5, 0.5], [0.5, 0.5]])}
    >>> signals = mixing(mix, discretise(mix, space), space)
    >>> [signals[f"{name}_normal"] for name in ("none", "kept_skips", "parameter_free")]
    [0.5, 1.0, 1.0]
    """
    free = {name for name in space.primitives if not is_parametric(name)}
    shared = set(space.types) <= {"normal", "reduce"}
    signals: dict[str, list[float]] = {}

    def note(name: str, kind: str, value: float) -> None:
        signals.setdefault(f"{name}_{kind if shared else 'cells'}", []).append(value)

    for kind in space.types:
        p = np.asarray(mix[kind], np.float64)
        note("entropy", kind, -(p * np.log(np.maximum(p, 1e-30))).sum(-1).mean())
        names = np.array(space.choices(kind))
        for word, name in (("skip", "skip_connect"), ("none", "none")):
            if name in space.primitives:
                note(word, kind, np.where(names == name, p, 0).sum(-1).mean())
        kept = [name for name, _ in genotype.cells[kind]]
        note("kept_skips", kind, kept.count("skip_connect") / len(kept))
        pairs = genotype.cells[kind]
        note("parameter_free", kind, early_stopping.parameter_free_share(pairs, free))
        note("width", kind, early_stopping.width(pairs, space))
        note("depth", kind, early_stopping.depth(pairs, space))
    return {name: round(float(np.mean(each)), 4) for name, each in signals.items()}
