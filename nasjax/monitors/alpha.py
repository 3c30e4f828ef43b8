"""Alpha and the architecture derived from it: signals of collapse that cost little.

Bi et al., arXiv 1910.11831, figures 1 and 8; for width and depth of a cell see
`monitors.cells`.
"""

from __future__ import annotations

import functools
from collections.abc import Collection

import numpy as np

from nasjax.monitors import cells
from nasjax.monitors.base import Monitor
from nasjax.nets.operations import is_parametric
from nasjax.spaces import CellSpace
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.mix import Mix
from nasjax.spaces.rules import random_genotype


def alpha(space: CellSpace) -> Monitor:
    """The monitor that reports the signals of `mixing`."""
    return Monitor("alpha", report=lambda seen: mixing(seen.mix, seen.genotype, space))


def mixing(mix: Mix, genotype: Genotype, space: CellSpace) -> dict[str, float]:
    """Signals of a search, including signals of its collapse, for every cell type.

    entropy: entropy of the mixing weights (nats), mean over the edges. skip, none:
    weight of `skip_connect` and of `none`, mean over the edges. kept_skips,
    parameter_free: share of skip connections, and of operators without parameters,
    among the operators of the genotype. width, depth: see `monitors.cells`. If every
    cell has a separate alpha, all signals are means over the cells.

    Args:
      mix: mixing weights of every cell type.
      genotype: the genotype that `mix` is discretised to.
      space: the space of both.

    >>> from nasjax.spaces.mix import Weights
    >>> from nasjax.spaces.rules import discretise
    >>> from nasjax.spaces import darts
    >>> space = darts(("none", "skip_connect"))._replace(nodes=1, types=("normal",))
    >>> mix = {"normal": Weights(np.array([[0.5, 0.5], [0.5, 0.5]]))}
    >>> signals = mixing(mix, discretise(mix, space), space)
    >>> [signals[f"{name}_normal"] for name in ("none", "kept_skips", "parameter_free")]
    [0.5, 1.0, 1.0]
    """
    signals: dict[str, list[float]] = {}
    for kind in space.types:
        p = np.asarray(mix[kind].ops, np.float64)
        share = p / np.maximum(p.sum(-1, keepdims=True), 1e-30)
        logs = np.log(np.maximum(share, 1e-30))
        own = {"entropy": -(share * logs).sum(-1).mean()}
        names = np.array(space.choices(kind))
        for word, name in (("skip", "skip_connect"), ("none", "none")):
            if name in space.primitives:
                own[word] = np.where(names == name, p, 0).sum(-1).mean()
        own |= _of_cell(genotype.cells[kind], space, _free(space))
        for name, value in own.items():
            signals.setdefault(f"{name}_{_group(kind, space)}", []).append(value)
    return {name: round(float(np.mean(each)), 4) for name, each in signals.items()}


@functools.lru_cache(maxsize=8)
def base_rate(space: CellSpace, count: int = 500) -> dict[str, np.ndarray]:
    """The signals of the genotype in `mixing`, of random genotypes of a space.

    Args:
      space: the space.
      count: number of genotypes N.

    Returns:
      name of a signal -> its values [N]. The same index is the same genotype.
    """
    free, found = _free(space), []
    for seed in range(count):
        genotype = random_genotype(seed, space)
        signals: dict[str, list[float]] = {}
        for kind in space.types:
            for name, value in _of_cell(genotype.cells[kind], space, free).items():
                group = f"{name}_{_group(kind, space)}"
                signals.setdefault(group, []).append(value)
        found.append([np.mean(each) for each in signals.values()])
    values = np.round(np.array(found), 4)
    return dict(zip(signals, values.T, strict=True))


def _of_cell(
    pairs: cells.Pairs, space: CellSpace, free: Collection[str]
) -> dict[str, float]:
    kept = [name for name, _ in pairs]
    return {
        "kept_skips": kept.count("skip_connect") / len(kept),
        "parameter_free": cells.parameter_free_share(pairs, free),
        "width": cells.width(pairs, space),
        "depth": cells.depth(pairs, space),
    }


@functools.lru_cache(maxsize=64)
def _free(space: CellSpace) -> set[str]:
    return {name for name in space.primitives if not is_parametric(name)}


def _group(kind: str, space: CellSpace) -> str:
    """The cell type, or "cells" if every cell has a separate alpha."""
    return kind if set(space.types) <= {"normal", "reduce"} else "cells"
