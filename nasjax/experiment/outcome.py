"""The test of a run: the architecture found beside random ones, with its uncertainty."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from nasjax.tasks.base import Metric

Z = 1.96  # normal quantile of a two-sided interval of 95 %


class Outcome(NamedTuple):
    """What a result says about the test.

    Attributes:
      metric: the metric of all values.
      found: one value for each training of the architecture found.
      random: one value for each random architecture, trained in the same way.
      examples: number of test examples; None if an older version wrote the result.
    """

    metric: Metric
    found: tuple[float, ...]
    random: tuple[float, ...]
    examples: int | None

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Outcome:
        """The outcome of a result.json of this or an older version."""
        metric = Metric.of(result)

        def values(name: str) -> tuple[float, ...]:
            each = result.get(f"{name}_each") or [result.get(name)]
            return tuple(value for value in each if value is not None)

        own, random = f"test_{metric.name}", f"random_test_{metric.name}"
        examples = result.get("test_examples")
        return cls(metric, values(own), values(random), examples)

    @classmethod
    def joined(cls, results: Sequence[Mapping[str, Any]]) -> Outcome:
        """The tests of several runs, such as the seeds of a search, as one.

        The number of examples is None if the runs differ in it.
        """
        each = [cls.of(result) for result in results]
        found = tuple(value for one in each for value in one.found)
        random = tuple(value for one in each for value in one.random)
        sizes = {one.examples for one in each}
        examples = sizes.pop() if len(sizes) == 1 else None
        return cls(each[0].metric, found, random, examples)

    @property
    def error(self) -> float | None:
        """The standard error of a mean of `found`, see `standard_error`; or None."""
        return self._error(self.found)

    @property
    def difference(self) -> float | None:
        """The mean of `found` minus the mean of `random`; None without one of them."""
        if not self.found or not self.random:
            return None
        return _mean(self.found) - _mean(self.random)

    @property
    def difference_error(self) -> float | None:
        """The standard error of `difference` by the number of test examples.

        Both errors are added in squares. The same examples test both architectures, so
        that this is an upper estimate; outcomes of single examples are not stored.
        """
        own, other = self.error, self._error(self.random)
        return None if own is None or other is None else math.hypot(own, other)

    def _error(self, values: tuple[float, ...]) -> float | None:
        if self.metric.name != "accuracy" or not self.examples or not values:
            return None
        return standard_error(_mean(values), self.examples)

    def text(self) -> str:
        """The test in a line or two; empty if nothing was retrained.

        >>> accuracy = Metric("accuracy", True, "{:.2%}")
        >>> print(Outcome(accuracy, (0.75,), (0.5, 0.7), 100).text())
        test accuracy 75.00% (100 examples, standard error 4.3%); \
2 random cells 50.00% to 70.00%, mean 60.00%
        The difference of 15.00% is more than chance explains with 100 examples \
(standard error at most 6.5%). It is above all random cells.
        """
        if not self.found:
            return ""
        form = self.metric.text
        name = f"test {self.metric.name}"
        said = f"{name} {described(self.found, form)}"
        if len(self.found) > 1:
            said = (
                f"{name} of {len(self.found)} trainings {described(self.found, form)}, "
                f"deviation {form(statistics.stdev(self.found))}"
            )
        size = f"{self.examples:,} examples" if self.examples else ""
        error = "" if self.error is None else f"standard error {self.error:.1%}"
        if size:
            said += f" ({', '.join(filter(None, (size, error)))})"
        if self.random:
            one = len(self.random) == 1
            cells = "a random cell" if one else f"{len(self.random)} random cells"
            said += f"; {cells} {described(self.random, form)}"
        return "\n".join(filter(None, (said, self.judgement())))

    def judgement(self) -> str:
        """A sentence on the difference from random cells; empty without both."""
        difference, error = self.difference, self.difference_error
        if difference is None:
            return ""
        gain = difference if self.metric.higher_is_better else -difference
        amount = self.metric.text(abs(difference))
        if error is None:
            size = f"The difference from random cells is {amount}."
        elif abs(difference) <= Z * error:
            return (
                f"The difference of {amount} is too small for {self.examples:,} "
                f"examples to resolve (standard error at most {error:.1%})."
            )
        else:
            size = (
                f"The difference of {amount} is more than chance explains with "
                f"{self.examples:,} examples (standard error at most {error:.1%})."
            )
        if len(self.random) < 2:
            return f"{size} One random cell does not show how much random cells differ."
        own = _mean(self.found)
        if min(self.random) <= own <= max(self.random):
            return f"{size} It is within the range of the random cells."
        better = "" if self.metric.higher_is_better else ", which is better"
        worse = "" if self.metric.higher_is_better else ", which is worse"
        side = "above" if own > max(self.random) else "below"
        return f"{size} It is {side} all random cells{better if gain > 0 else worse}."

    def share(self) -> str:
        """A sentence on how many random cells are as good; empty without both.

        >>> accuracy = Metric("accuracy", True, "{:.2%}")
        >>> print(Outcome(accuracy, (0.75,), (0.5, 0.7, 0.8), 100).share())
        1 of 3 random cells reached at least the accuracy of the architecture found; \
of all random cells 6% to 79% would (interval of 95 %).
        """
        if not self.found or not self.random:
            return ""
        best, own = self.metric.higher_is_better, _mean(self.found)
        number = len(self.random)
        count = sum(v >= own if best else v <= own for v in self.random)
        low, high = interval(count / number, number)
        return (
            f"{count} of {number} random cell{'s' if number > 1 else ''} reached at "
            f"{'least' if best else 'most'} the {self.metric.name} of the architecture "
            f"found; of all random cells {low:.0%} to {high:.0%} would (interval of "
            "95 %)."
        )

    def short(self) -> str:
        """The test in a few words, as below a picture; empty if nothing was retrained."""
        if not self.found:
            return ""
        form = self.metric.text
        size = f" ({self.examples:,} examples)" if self.examples else ""
        said = f"test {self.metric.name} {form(_mean(self.found))}{size}"
        if self.random:
            said += f", random cells {form(_mean(self.random))}"
        return said


def standard_error(fraction: float, examples: int) -> float:
    """The standard error of an accuracy measured on `examples` examples.

    The binomial one, with two right and two wrong examples added (Agresti, Coull, 1998), so
    that it is not 0 where all examples were right.

    >>> f"{standard_error(1.0, 36):.3f} {standard_error(0.5, 10_000):.4f}"
    '0.034 0.0050'
    """
    count = examples + 4
    adjusted = (fraction * examples + 2) / count
    return math.sqrt(adjusted * (1 - adjusted) / count)


def interval(fraction: float, examples: int) -> tuple[float, float]:
    """Wilson's interval of 95 % of an accuracy measured on `examples` examples.

    >>> low, high = interval(0.375, 72)
    >>> f"{low:.3f} {high:.3f}"
    '0.272 0.490'
    """
    share = Z**2 / examples
    centre = (fraction + share / 2) / (1 + share)
    inner = fraction * (1 - fraction) / examples + share / (4 * examples)
    half = Z / (1 + share) * math.sqrt(inner)
    return max(centre - half, 0.0), min(centre + half, 1.0)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def described(values: Sequence[float], form: Callable[[float], str]) -> str:
    """One value, or the range and the mean of several."""
    if len(values) == 1:
        return form(values[0])
    ends = f"{form(min(values))} to {form(max(values))}"
    return f"{ends}, mean {form(_mean(values))}"
