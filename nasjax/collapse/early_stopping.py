"""The collapse of a search: when to stop it.

Early stopping by the dominant eigenvalue of the Hessian of the validation loss in alpha
is DARTS-ES, and going back with more weight decay DARTS-ADA, of Zela et al.,
"Understanding and Robustifying Differentiable Architecture Search", ICLR 2020,
arXiv 1909.09656; the numbers are those of its code.

Deviations:
  * An average that is 0 or negative has no ratio to exceed; that code divides by it.
  * The largest weight decay is kept to. That code multiplies without a bound and looks
    whether the result is near the largest one.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from nasjax.core.arguments import count, positive


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
