"""What a run says about its test."""

import numpy as np
import pytest

from nasjax.experiment.outcome import Outcome, interval, standard_error
from nasjax.tasks.base import Metric

ACCURACY = Metric("accuracy", True, "{:.2%}")


def result(found, random=(), examples=None, metric=ACCURACY):
    return {
        "metric": metric._asdict(),
        f"test_{metric.name}": found and float(np.mean(found)),
        f"test_{metric.name}_each": list(found or ()),
        f"random_test_{metric.name}_each": list(random),
        "test_examples": examples,
    }


def test_one_image_is_no_result():
    text = Outcome.of(result([355 / 359], [352 / 359, 354 / 359], 359)).text()
    assert "98.89% (359 examples, standard error 0.7%)" in text
    assert "2 random cells 98.05% to 98.61%, mean 98.33%" in text
    assert "difference of 0.56% is too small for 359 examples to resolve" in text


def test_a_difference_is_read_by_size_and_by_the_spread_of_random_cells():
    random = (0.80, 0.82, 0.86)
    far = Outcome.of(result([0.90], random, 10_000)).judgement()
    assert (
        "more than chance explains with 10,000" in far
        and "above all random cells" in far
    )
    below = Outcome.of(result([0.70], random, 10_000)).judgement()
    assert "below all random cells" in below
    inside = Outcome.of(result([0.85], random, 10_000)).judgement()
    assert "more than chance" in inside and "within the range of the random" in inside
    alone = Outcome.of(result([0.9], [0.8], 10_000)).judgement()
    assert "One random cell does not show" in alone


def test_seeds_are_listed_and_other_metrics_have_no_binomial_error():
    text = Outcome.of(result([0.9, 0.92], [0.9], 100)).text()
    assert "of 2 trainings 90.00% to 92.00%, mean 91.00%, deviation 1.41% (100" in text
    loss = Metric("perplexity", False, "{:.4g}")
    text = Outcome.of(result([60.0], [70.0, 72.0], 5000, loss)).text()
    assert "test perplexity 60 (5,000 examples); 2 random" in text
    assert "error" not in text and "below all random cells, which is better" in text


def test_results_of_older_versions():
    old = {"test_accuracy": 0.5, "random_test_accuracy": 0.25}
    assert Outcome.of(old) == (
        Metric("accuracy", True, "{:.2%}"),
        (0.5,),
        (0.25,),
        None,
    )
    text = Outcome.of(old).text()
    assert text.startswith("test accuracy 50.00%; a random cell 25.00%\nThe difference")
    assert Outcome.of({"test_accuracy": None}).text() == ""
    assert Outcome.of({"test_accuracy": 0.0, "test_examples": 4}).error > 0.1


@pytest.mark.parametrize("fraction, size", [(0.5, 40), (0.95, 40), (0.99, 359)])
def test_intervals_hold_what_they_say(fraction, size):
    """The share of tests whose interval holds the true accuracy."""
    hits = np.random.default_rng(0).binomial(size, fraction, 4000) / size
    ends = np.array([interval(hit, size) for hit in hits])
    held = ((ends[:, 0] <= fraction) & (fraction <= ends[:, 1])).mean()
    assert held > 0.92
    errors = [standard_error(hit, size) for hit in hits]
    held = (abs(hits - fraction) <= 1.96 * np.array(errors)).mean()
    assert held > 0.9


def test_equal_architectures_are_seldom_told_apart():
    rng = np.random.default_rng(1)
    found, random = rng.binomial(359, 0.98, (2, 1000)) / 359
    said = [
        Outcome.of(result([a], [b], 359)).judgement()
        for a, b in zip(found, random, strict=True)
    ]
    assert sum("larger than" in one for one in said) <= 50
