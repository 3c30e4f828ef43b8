"""The collapse of a search: when to stop it, and what its cells then look like.

Early stopping by the dominant eigenvalue of the Hessian of the validation loss in alpha
is DARTS-ES, and going back with more weight decay DARTS-ADA, of Zela et al.,
"Understanding and Robustifying Differentiable Architecture Search", ICLR 2020,
arXiv 1909.09656; the numbers are those of its code. How wide, deep and free
of parameters a cell is: Shu et al., "Understanding Architectures Learnt by Cell-based
Neural Architecture Search", ICLR 2020, arXiv 1909.09569, as used by Chen and Hsieh,
SmoothDARTS, arXiv 2002.05283, section 5.6.

Deviations:
  * An average that is 0 or negative has no ratio to exceed; that code divides by it.
  * The largest weight decay is kept to. That code multiplies without a bound and looks
    whether the result is near the largest one.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Collection, Sequence
from typing import NamedTuple

from nasjax.core.arguments import count, positive
from nasjax.spaces import SPACES, CellSpace

Pairs = Sequence[tuple[str, int]]  # (operation, source), as a genotype lists them

PARAMETER_FREE = frozenset(
    ("none", "noise", "skip_connect", "max_pool_3x3", "avg_pool_3x3")
)


class Stop(NamedTuple):
    """Epochs, counted from 0.

    Attributes:
      epoch_detected: whose eigenvalue gave the collapse away.
      epoch_returned: whose state is the result of DARTS-ES; where DARTS-ADA goes on.
    """

    epoch_detected: int
    epoch_returned: int


@dataclasses.dataclass(frozen=True)
class Rule:
    """When eigenvalues have grown too fast.

    Attributes:
      window: eigenvalues in a local average, an odd number.
      distance: how many eigenvalues back the average lies that the newest is compared
        with.
      ratio: of the two that must be exceeded.
      first_epoch: the first that may be returned.

    Raises:
      ValueError: a setting is out of its range.
    """

    window: int = 5
    distance: int = 4
    ratio: float = 1.3
    first_epoch: int = 10

    def __post_init__(self) -> None:
        count(self.window, "window")
        count(self.distance, "distance")
        positive(self.ratio, "ratio")
        if self.window % 2 == 0:
            raise ValueError(
                f"window is {self.window!r}; expected an odd number, so that an "
                "average has a middle."
            )

    @property
    def delay(self) -> int:
        """Eigenvalues until a local average is complete: those after its middle."""
        return self.window // 2

    def lookback(self, interval: int = 2) -> int:
        """Epochs from the state returned to the detection: how long to keep states.

        Args:
          interval: epochs from one eigenvalue to the next.

        >>> DARTS_ES.lookback()
        12
        """
        return interval * (self.delay + self.distance)


DARTS_ES = Rule()


def local_averages(values: Sequence[float], window: int = 5) -> list[float]:
    """Means over `window` values, entry i around value i.

    The first ones are of those values that there are; the last window // 2 values have
    none yet.

    >>> local_averages([1, 2, 3, 4, 5, 6])
    [2.0, 2.5, 3.0, 4.0]
    """
    half = window // 2
    parts = (values[max(i - half, 0) : i + half + 1] for i in range(len(values) - half))
    return [sum(part) / len(part) for part in parts]


def detect(
    epochs: Sequence[int],
    eigenvalues: Sequence[float],
    last_epoch: int,
    rule: Rule = DARTS_ES,
) -> Stop | None:
    """The first epoch at which a series of eigenvalues calls for stopping (DARTS-ES).

    With the settings of the paper an eigenvalue is taken every 2 epochs. Then the
    average around epoch e - 4 is known in epoch e, and the search is stopped if it is
    more than 1.3 times the average around epoch e - 12, the epoch that is returned.

    After a roll-back (DARTS-ADA) the series is that up to the epoch returned, continued
    by the new eigenvalues.

    Args:
      epochs: of the eigenvalues, counted from 0 and equally far apart.
      eigenvalues: the largest of each epoch's Hessian, see `nasjax.hypergrad.curvature`. One that
        is not a number never stops a search.
      last_epoch: of the search; nothing is detected from it on, and its eigenvalue may
        be out of step.
      rule: the settings.

    Raises:
      ValueError: there are not as many epochs as eigenvalues, or epochs are not equally
        far apart.

    >>> epochs = range(0, 50, 2)
    >>> detect(epochs, [1.0 if epoch < 30 else 2.0 for epoch in epochs], last_epoch=49)
    Stop(epoch_detected=32, epoch_returned=20)
    """
    if len(epochs) != len(eigenvalues):
        raise ValueError(
            f"There are {len(epochs)} epochs and {len(eigenvalues)} eigenvalues; "
            "expected an epoch for each eigenvalue."
        )
    epochs = [epoch for epoch in epochs if epoch < last_epoch]
    gaps = {later - epoch for epoch, later in itertools.pairwise(epochs)}
    if len(gaps) > 1 or min(gaps, default=1) < 1:
        raise ValueError(
            f"Eigenvalues of the epochs {epochs} were given; expected epochs in order "
            "and equally far apart."
        )
    averages = local_averages(eigenvalues[: len(epochs)], rule.window)
    for then, before in enumerate(averages[: -rule.distance]):
        now = then + rule.distance
        grown = before > 0 and averages[now] / before > rule.ratio
        if grown and epochs[then] >= rule.first_epoch:
            return Stop(epochs[now + rule.delay], epochs[then])
    return None


def adapt(
    weight_decay: float, factor: float = 10.0, most: float = 0.03
) -> float | None:
    """The weight decay to go on with after a roll-back (DARTS-ADA).

    The search goes back to `Stop.epoch_returned` (w, alpha and both optimisers; the
    schedule of the learning rate goes on from there) and may be stopped again.

    Args:
      weight_decay: that of w so far.
      factor: by which it grows; 10 in the scripts of the authors.
      most: the largest.

    Returns:
      None if it is the largest already: then nothing stops the search any more.

    Raises:
      ValueError: the factor is not above 1, or a weight decay is not above 0.

    >>> round(adapt(3e-4), 6), round(adapt(3e-3), 6), adapt(3e-2)
    (0.003, 0.03, None)
    """
    positive(weight_decay, "weight_decay")
    positive(most, "most")
    if not factor > 1:
        raise ValueError(f"factor is {factor!r}; expected a number above 1.")
    at_most = weight_decay > most or math.isclose(weight_decay, most)
    return None if at_most else min(weight_decay * factor, most)


def width(pairs: Pairs, space: CellSpace = SPACES["darts"]) -> float:
    """Width of a cell in units of a node's width c: how much it reads from its inputs.

    The sum over intermediate nodes of the fraction of its pairs that read from an input
    of the cell. A pair with `none` reads nothing.

    Args:
      pairs: of a cell, as in `Genotype.cells`.
      space: of the cell.

    Raises:
      ValueError: pairs are left over, or a node reads from itself or a later one.

    >>> from nasjax.spaces.published import PUBLISHED
    >>> cell = PUBLISHED["darts_v2"].cells["normal"]
    >>> width(cell), depth(cell)
    (3.5, 3)
    """
    own = [source for source in _sources(pairs, space).values() if source]
    return sum(sum(s < space.inputs for s in each) / len(each) for each in own)


def depth(pairs: Pairs, space: CellSpace = SPACES["darts"]) -> int:
    """Depth of a cell: edges on the longest way from an input to the output; 0 if none.

    Where the output concatenates nodes, that is the last edge of every way. The
    arguments and errors are those of `width`.
    """
    hops = dict.fromkeys(range(space.inputs), 0)
    for node, sources in _sources(pairs, space).items():
        reached = [hops[s] for s in sources if s in hops]
        if reached:
            hops[node] = 1 + max(reached)
    ways = [hops[node] for node in space.concat if node in hops]
    return max(ways) + (len(space.concat) > 1) if ways else 0


def parameter_free_share(pairs: Pairs, free: Collection[str] = PARAMETER_FREE) -> float:
    """The share of a cell's operations that learn nothing (SmoothDARTS, table 5).

    Args:
      pairs: see `width`.
      free: what learns nothing, where there are operations of the user's own.

    >>> parameter_free_share([("skip_connect", 0), ("sep_conv_3x3", 1)])
    0.5
    """
    return sum(name in free for name, _ in pairs) / len(pairs)


def _sources(pairs: Pairs, space: CellSpace) -> dict[int, list[int]]:
    """What every intermediate node reads from; `none` reads nothing."""
    if len(pairs) != len(space.targets):
        raise ValueError(
            f"The cell has {len(pairs)} pairs; expected {len(space.targets)}."
        )
    found: dict[int, list[int]] = {node: [] for node in space.intermediate}
    for (op, source), node in zip(pairs, space.targets, strict=True):
        if not 0 <= source < node:
            raise ValueError(
                f"Node {node} reads from {source}; expected nodes 0 to {node - 1}."
            )
        if op != "none":
            found[node].append(source)
    return found
