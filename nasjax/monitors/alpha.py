"""Alpha and the architecture derived from it: signals of collapse that cost little.

Bi et al., arXiv 1910.11831, figures 1 and 8; for width and depth of a cell see
`monitors.cells`.
"""

from __future__ import annotations

import numpy as np

from nasjax.monitors import cells
from nasjax.monitors.base import Monitor
from nasjax.nets.operations import is_parametric
from nasjax.spaces import CellSpace
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.mix import Mix


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
    free = {name for name in space.primitives if not is_parametric(name)}
    shared = set(space.types) <= {"normal", "reduce"}
    signals: dict[str, list[float]] = {}

    def note(name: str, kind: str, value: float) -> None:
        signals.setdefault(f"{name}_{kind if shared else 'cells'}", []).append(value)

    for kind in space.types:
        p = np.asarray(mix[kind].ops, np.float64)
        share = p / np.maximum(p.sum(-1, keepdims=True), 1e-30)
        logs = np.log(np.maximum(share, 1e-30))
        note("entropy", kind, -(share * logs).sum(-1).mean())
        names = np.array(space.choices(kind))
        for word, name in (("skip", "skip_connect"), ("none", "none")):
            if name in space.primitives:
                note(word, kind, np.where(names == name, p, 0).sum(-1).mean())
        kept = [name for name, _ in genotype.cells[kind]]
        note("kept_skips", kind, kept.count("skip_connect") / len(kept))
        pairs = genotype.cells[kind]
        note("parameter_free", kind, cells.parameter_free_share(pairs, free))
        note("width", kind, cells.width(pairs, space))
        note("depth", kind, cells.depth(pairs, space))
    return {name: round(float(np.mean(each)), 4) for name, each in signals.items()}
