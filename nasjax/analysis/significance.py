"""Whether two sets of runs differ by more than chance (SANAS, appendix K)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nasjax.core.errors import UserError


class Comparison(NamedTuple):
    """Two sets of results.

    Attributes:
      means: of ours and of the baseline.
      deviations: sample standard deviations.
      counts: seeds of each.
      p_value: of Welch's t-test, two-sided: both sets are samples.
      p_one_sample: of the paper's: the baseline's mean is taken for a known number,
        `scipy.stats.ttest_1samp`, though it varies with the seeds as ours does.
    """

    means: tuple[float, float]
    deviations: tuple[float, float]
    counts: tuple[int, int]
    p_value: float
    p_one_sample: float


def t_test(ours: Sequence[float], baseline: Sequence[float]) -> Comparison:
    """Compares the results of some seeds with those of others.

    Where a set does not vary at all nothing can be said, and p is nan, or 1 where the
    means are equal too.

    Raises:
      UserError: a set has less than two results.

    >>> test = t_test([0.97, 0.98, 0.99], [0.95, 0.96, 0.97])
    >>> f"{test.p_value:.3f} {test.p_one_sample:.3f}"
    '0.070 0.074'
    """
    from scipy import stats

    both = [np.asarray(values, float) for values in (ours, baseline)]
    for name, values in zip(("ours", "the baseline"), both, strict=True):
        if len(values) < 2:
            raise UserError(
                f"A t-test needs two results or more, and {name} has {len(values)}; "
                "give runs with more seeds."
            )
    a, b = both
    means = float(a.mean()), float(b.mean())
    deviations = float(a.std(ddof=1)), float(b.std(ddof=1))
    welch = one = 1.0 if (a[0] == b).all() else float("nan")
    if np.ptp(a) or np.ptp(b):
        welch = float(stats.ttest_ind(a, b, equal_var=False).pvalue)
    if np.ptp(a):
        one = float(stats.ttest_1samp(a, means[1]).pvalue)
    return Comparison(means, deviations, (len(a), len(b)), welch, one)
