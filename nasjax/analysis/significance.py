"""Significance of the difference of two sets of runs (SANAS, appendix K), and of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nasjax.core.errors import UserError


class Comparison(NamedTuple):
    """The comparison of two sets of results, ours and the baseline's.

    Attributes:
      means: mean of each set.
      deviations: sample standard deviation of each set.
      counts: number of seeds of each set.
      p_value: two-sided p-value of Welch's t-test, which treats both sets as samples.
      p_one_sample: p-value of the paper's test, `scipy.stats.ttest_1samp`. It treats
        the baseline's mean as a known number, though it varies with the seeds as ours
        does.
    """

    means: tuple[float, float]
    deviations: tuple[float, float]
    counts: tuple[int, int]
    p_value: float
    p_one_sample: float


def t_test(ours: Sequence[float], baseline: Sequence[float]) -> Comparison:
    """Compares our results with the baseline's results, one result a seed.

    A p-value is undefined if no set varies, and `p_one_sample` also if ours does not
    vary. It is then nan, or 1 if all results of both sets are equal.

    Raises:
      UserError: a set has fewer than two results.

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


def above_zero(gains: Sequence[float]) -> float | None:
    """The one-sided p-value that paired gains, one a seed, lie above 0.

    Wilcoxon's signed-rank test, which assumes no normal distribution: a random cell that
    does not learn makes one gain far larger than the others. The smallest p-value of n
    seeds is 2^-n. None with fewer than two gains, or if all are 0.

    >>> above_zero([0.006, 0.004, 0.45, 0.02, 0.03])
    0.03125
    """
    from scipy import stats

    if len(gains) < 2 or not any(gains):
        return None
    return float(stats.wilcoxon(gains, alternative="greater").pvalue)
