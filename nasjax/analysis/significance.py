"""Significance of the differences of sets of runs, and from random cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from nasjax.core.errors import UserError

LEVEL = 0.95  # of intervals
ROUNDING = 1e-6  # relative differences up to this are no variation


class Paired(NamedTuple):
    """The comparison of two sets of results by seed, ours and the base's.

    Attributes:
      difference: mean of ours minus the base's.
      interval: Student's interval of the mean difference. It trusts that differences
        are normal; a collapse that no seed shows is not in it.
      superiority: share of seeds in which ours is better, equal ones counting half: the
        estimate of the probability of superiority of paired results (Grissom, Kim,
        "Effect Sizes for Research", 2005, PS_dep). How much better does not matter, so
        that a collapse counts as one seed.
      superiority_interval: the exact interval of Clopper and Pearson. Its lower end
        counts equal results as worse, its upper end as better, which is conservative.
      p_value: two-sided p-value of Wilcoxon's signed-rank test, without equal results.
        The distribution is exact, also with ties.
    """

    difference: float
    interval: tuple[float, float]
    superiority: float
    superiority_interval: tuple[float, float]
    p_value: float


def paired(
    ours: Sequence[float], base: Sequence[float], higher_is_better: bool = True
) -> Paired:
    """Compares results of the same seeds, in the same order.

    Raises:
      UserError: there are fewer than two.

    >>> test = paired([0.97, 0.98, 0.99], [0.95, 0.97, 0.96])
    >>> f"{test.difference:.2f} {test.superiority} {test.p_value}"
    '0.02 1.0 0.25'
    """
    from scipy import stats

    d = np.subtract(ours, base)
    n = len(d)
    if n < 2:
        raise UserError(
            f"Paired results need two seeds or more, not {n}; give more runs."
        )
    mean, sign = float(d.mean()), 1 if higher_is_better else -1
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * d.std(ddof=1) / np.sqrt(n))
    wins, equal = int((sign * d > 0).sum()), int((d == 0).sum())
    return Paired(
        mean,
        (mean - half, mean + half),
        (wins + equal / 2) / n,
        (1 - _highest(n - wins, n), _highest(wins + equal, n)),
        _signed_rank(d[d != 0]),
    )


def _highest(successes: int, trials: int) -> float:
    """Upper end of the interval of Clopper and Pearson.

    `scipy.stats.binomtest` has it too, at a thousand times the cost.
    """
    from scipy import special

    if successes == trials:
        return 1.0
    return float(special.bdtri(successes, trials, (1 - LEVEL) / 2))


def _signed_rank(d: np.ndarray) -> float:
    """The p-value of differences: each sign of each difference is equally likely.

    `scipy.stats.wilcoxon` has this distribution only without ties.
    """
    from scipy import stats

    ranks = np.rint(2 * stats.rankdata(abs(d))).astype(int)
    larger = max(ranks[d > 0].sum(), ranks[d < 0].sum())
    return min(1.0, 2 * _at_least(larger, ([0, rank] for rank in ranks)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p-values of several tests, corrected for their number (Holm, 1979).

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'c': 0.06, 'b': 0.06}
    """
    corrected: dict[str, float] = {}
    largest = 0.0
    for passed, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        largest = max(largest, (len(p_values) - passed) * p_values[name])
        corrected[name] = min(1.0, largest)
    return corrected


class Comparison(NamedTuple):
    """The comparison of two sets of results that are not paired (SANAS, appendix K).

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

    A p-value is undefined if no set varies by more than the rounding of float32, and
    `p_one_sample` also if ours does not. It is then nan, or 1 if all results of both
    sets are equal.

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
    welch = one = 1.0 if np.allclose(b, a[0], ROUNDING, 0) else float("nan")
    varies = [not np.allclose(values, values[0], ROUNDING, 0) for values in both]
    if any(varies):
        welch = float(stats.ttest_ind(a, b, equal_var=False).pvalue)
    if varies[0]:
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
    return _at_least(sum(ranks[0] for ranks in ranked), ranked)


def _at_least(least: int, choices: Iterable[Sequence[int] | np.ndarray]) -> float:
    """P(sum >= least) of one integer of each sequence, all equally likely."""
    odds = np.ones(1)
    for values in choices:
        odds = np.convolve(odds, np.bincount(values) / len(values))
    return float(odds[least:].sum())
