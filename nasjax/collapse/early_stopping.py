"""Early stopping of a search that collapses.

DARTS-ES stops a search by the dominant eigenvalue of the Hessian of the validation loss
in alpha. DARTS-ADA returns to an earlier epoch and continues with more weight decay.
Both are from Zela et al., "Understanding and Robustifying Differentiable Architecture
Search", ICLR 2020, arXiv 1909.09656; the default numbers are from its code.

Deviations:
  * An average that is 0 or negative never stops a search; the authors' code divides by
    it.
  * The weight decay never exceeds the largest one. The authors' code multiplies without
    a bound and checks whether the result is near the largest one.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from nasjax.core.arguments import count, positive


class Stop(NamedTuple):
    """The epochs of a detected collapse, counted from 0.

    Attributes:
      epoch_detected: the epoch whose eigenvalue showed the collapse.
      epoch_returned: the epoch whose state is the result of DARTS-ES; DARTS-ADA
        continues from it.
    """

    epoch_detected: int
    epoch_returned: int


@dataclasses.dataclass(frozen=True)
class Rule:
    """The rule by which eigenvalues have grown too fast.

    Attributes:
      window: number of eigenvalues in a local average; odd.
      distance: number of eigenvalues between the two averages that are compared.
      ratio: ratio of the newer to the older average that a collapse exceeds.
      first_epoch: the first epoch that may be returned.

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
                f"window is {self.window!r}; expected an odd number of eigenvalues, "
                "such as 5."
            )

    @property
    def delay(self) -> int:
        """Number of eigenvalues after the middle of a local average."""
        return self.window // 2

    def lookback(self, interval: int = 2) -> int:
        """Number of epochs from the returned state to the detection.

        States must be kept for this number of epochs.

        Args:
          interval: number of epochs from one eigenvalue to the next.

        >>> DARTS_ES.lookback()
        12
        """
        return interval * (self.delay + self.distance)


DARTS_ES = Rule()


def local_averages(values: Sequence[float], window: int = 5) -> list[float]:
    """The means over `window` values; entry i is the mean around value i.

    The first window // 2 means are over fewer values. The last window // 2 values have
    no mean yet.

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

    After a roll-back (DARTS-ADA) the series consists of the eigenvalues up to the epoch
    returned, and of the new eigenvalues.

    Args:
      epochs: epochs of the eigenvalues, counted from 0 and equally far apart.
      eigenvalues: largest eigenvalue of the Hessian at each epoch, see
        `nasjax.hypergrad.curvature`. An eigenvalue that is not a number never stops a
        search.
      last_epoch: last epoch of the search. Eigenvalues from this epoch on are not used;
        its distance from the epoch before may differ.
      rule: the settings.

    Raises:
      ValueError: the numbers of epochs and eigenvalues differ, or epochs are not
        equally far apart.

    >>> epochs = range(0, 50, 2)
    >>> detect(epochs, [1.0 if epoch < 30 else 2.0 for epoch in epochs], last_epoch=49)
    Stop(epoch_detected=32, epoch_returned=20)
    """
    if len(epochs) != len(eigenvalues):
        raise ValueError(
            f"There are {len(epochs)} epochs and {len(eigenvalues)} eigenvalues; "
            "expected one epoch for each eigenvalue."
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
    """The weight decay to continue with after a roll-back (DARTS-ADA).

    The search returns to `Stop.epoch_returned` (w, alpha, both optimisers and the
    position in the learning-rate schedule) and may be stopped again.

    Args:
      weight_decay: weight decay of w so far.
      factor: factor by which the weight decay grows; 10 in the scripts of the authors.
      most: the largest weight decay.

    Returns:
      The new weight decay, or None if `weight_decay` is already the largest. The search
      is then never stopped again.

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
