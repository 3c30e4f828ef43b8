"""Significance of the difference of two sets of runs (SANAS, appendix K), and from random cells."""

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


def above_random(seeds: Sequence[tuple[float, Sequence[float]]]) -> float | None:
    """The one-sided p-value that found cells are better than random cells.

    A test of ranks within each seed: if the search were of no use, the cell found would
    be exchangeable with the random cells of its seed, and every rank among them equally
    likely. The statistic is the sum over the seeds of the found cells' ranks, ties
    counting a half, and its distribution is exact. In contrast to tests of the
    differences from the mean of the random cells, a random cell that does not learn
    does not make the p-value small.

    Args:
      seeds: for each seed the value of the cell found, of which more is better, and
        those of its random cells.

    Returns:
      None without a random cell.

    >>> round(above_random([(0.98, (0.9, 0.95, 0.97))] * 2), 4)  # the best of 4, twice
    0.0625
    """
    ranked = [
        np.array(
            [
                sum((b < a) + (b <= a) for b in (found, *random))
                for a in (found, *random)
            ]
        )
        for found, random in seeds
        if len(random)
    ]
    if not ranked:
        return None
    odds = np.ones(1)  # of twice the sum of ranks
    for ranks in ranked:
        odds = np.convolve(odds, np.bincount(ranks) / len(ranks))
    return float(odds[sum(ranks[0] for ranks in ranked) :].sum())
