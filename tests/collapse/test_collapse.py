"""Early stopping on series worked out on paper, and the shapes of published cells."""

import numpy as np
import pytest

from nasjax.collapse.early_stopping import (
    Rule,
    Stop,
    adapt,
    detect,
    local_averages,
)
from nasjax.monitors.cells import (
    PARAMETER_FREE,
    depth,
    parameter_free_share,
    width,
)
from nasjax.nets.operations import OPERATIONS, is_parametric
from nasjax.spaces import SPACES
from nasjax.spaces.published import PUBLISHED

EPOCHS = [*range(0, 50, 2), 49]  # every second one of 50, and the last


def found(value, last_epoch=49, rule=None, epochs=EPOCHS):
    """value: epoch -> eigenvalue."""
    values = [float(value(epoch)) for epoch in epochs]
    return detect(epochs, values, last_epoch, *([rule] if rule else []))


def step(at, low=1.0, high=2.0):
    return lambda epoch: low if epoch < at else high


# An average of five holds k of the values after the step and is 1 + k / 5: 1.2 with one
# of them, 1.4 with two. The one it is compared with holds those of 8 epochs before.


@pytest.mark.parametrize("at", [20, 24, 30, 38, 44, 46])
def test_a_step_is_detected_two_epochs_later(at):
    assert found(step(at)) == Stop(at + 2, at - 10)


def test_a_step_of_exactly_the_ratio_is_not_enough():
    """(1 + 1 + 1 + 2.25 + 2.25) / 5 = 1.5; with three of them 1.75."""
    rule = Rule(ratio=1.5)
    assert found(step(30, high=2.25), rule=rule) == Stop(34, 22)
    assert found(step(30, high=2.26), rule=rule) == Stop(32, 20)


def test_nothing_before_epoch_10_is_returned():
    """A step at 12 is 1.4 in epoch 14. The first epoch to decide is 22: then the
    average around 18 is 2, that around 10, of 6 to 14, is (1 + 1 + 1 + 2 + 2) / 5."""
    assert found(step(12)) == Stop(22, 10)
    assert found(step(10)) is None  # 2 / ((1 + 1 + 2 + 2 + 2) / 5) = 1.25
    assert found(step(2)) is None
    assert found(step(18)) == Stop(22, 10)


def test_first_epoch_may_be_earlier():
    """The average around 0 is of 0, 2 and 4; around 8 of 4 to 12, known in 12."""
    assert found(step(12), rule=Rule(first_epoch=0)) == Stop(14, 2)
    # (1 + 3 2) / 5 = 1.4 against 1; a step later it is around 2, of 0 to 6, again 1.
    assert found(step(10), rule=Rule(first_epoch=0)) == Stop(12, 0)
    # 2 against (1 + 2 + 2) / 3 = 1.67, then against (1 + 2 + 2 + 2) / 4 = 1.75.
    assert found(step(2), rule=Rule(first_epoch=0)) is None


def test_nothing_is_detected_in_the_last_epoch():
    assert found(step(48)) is None  # 1.2 in epoch 48, and 49 does not decide
    assert found(step(46)) == Stop(48, 36)
    assert found(step(46), last_epoch=48) is None
    assert found(step(44), last_epoch=48) == Stop(46, 34)


def test_steady_growth():
    """lambda = epoch: (e - 4) / (e - 12) > 1.3 up to e = 38, the first time in 22."""
    assert found(lambda epoch: epoch) == Stop(22, 10)
    # From 24 on: 32 / 26 = 1.23 (of 24 to 28), 34 / 27, 36 / 28 = 1.286, 38 / 30, ...
    assert found(lambda epoch: epoch, epochs=range(24, 50, 2)) is None
    # From 22 on: 30 / 24 (of 22 to 26), 32 / 25, then 34 / 26 = 1.308 in epoch 38.
    assert found(lambda epoch: epoch, epochs=range(22, 50, 2)) == Stop(38, 26)


def test_growth_that_is_slow_is_none():
    assert found(lambda epoch: 100 + epoch) is None  # (96 + e) / (88 + e) < 1.08
    assert found(lambda epoch: 1.03**epoch) is None  # 1.03^8 = 1.267
    assert found(lambda epoch: 1.034**epoch) == Stop(22, 10)  # 1.034^8 = 1.307


def test_a_plateau_noise_and_decay_are_none():
    assert found(lambda epoch: 0.4) is None
    assert found(lambda epoch: 1 + 0.5 * (epoch % 4 == 0)) is None  # same phase: 1
    assert found(lambda epoch: 3 - epoch / 20) is None


def test_one_value_out_of_line():
    """(4 + x) / 5 > 1.3 if x > 2.5."""
    spike = lambda at, x: lambda epoch: x if epoch == at else 1.0
    assert found(spike(30, 2.4)) is None
    assert found(spike(30, 2.6)) == Stop(30, 18)
    # In epoch 22 the averages are of 14 to 22 and of 6 to 14.
    assert found(spike(16, 2.6)) == Stop(22, 10)
    assert found(spike(14, 2.6)) is None
    assert found(lambda epoch: 2.6 if epoch == 30 else float("nan")) is None


def test_values_without_a_ratio():
    assert found(lambda epoch: -1.0 - epoch) is None
    assert found(step(30, low=0.0)) == Stop(38, 26)  # 2 / 0.4, of 22 to 30
    assert found(step(30, low=-1.0, high=1.0)) == Stop(42, 30)  # 1 / 0.2, of 26 to 34
    assert found(lambda epoch: float("inf") if epoch == 30 else 1.0) == Stop(30, 18)


@pytest.mark.parametrize(("interval", "stop"), [(1, (31, 25)), (5, (35, 5))])
def test_other_intervals(interval, stop):
    """Windows and distances count eigenvalues, so epochs scale with the interval."""
    epochs = range(0, 50, interval)
    rule = Rule(first_epoch=5)
    assert found(step(30), rule=rule, epochs=epochs) == Stop(*stop)
    assert stop[0] - stop[1] == rule.lookback(interval)


def described(series, epochs=50, window=5, every=2, back=4, factor=1.3, first=10):
    """The written rule, epoch by epoch: dictionaries of eigenvalues and averages."""
    seen, average = [], {}
    for epoch in range(epochs):
        if epoch % every or epoch == epochs - 1:
            continue
        seen.append(series[epoch])
        if len(seen) < (window + 1) // 2:
            continue
        middle = epoch - every * (window // 2)
        average[middle] = np.mean(seen[-window:])
        earlier = middle - every * back
        if earlier >= first and average[middle] / average[earlier] > factor:
            return Stop(epoch, earlier)
    return None


@pytest.mark.parametrize("seed", range(20))
def test_random_series_against_the_description(seed):
    draws = np.random.default_rng(seed)
    growth = np.cumsum(draws.normal(0.02, 0.08, 50))
    series = np.exp(growth + draws.normal(0, 0.2, 50))
    assert found(lambda epoch: series[epoch]) == described(series)


def test_random_series_are_of_both_kinds():
    verdicts = set()
    for seed in range(20):
        draws = np.random.default_rng(seed)
        growth = np.cumsum(draws.normal(0.02, 0.08, 50))
        stop = described(np.exp(growth + draws.normal(0, 0.2, 50)))
        verdicts.add(stop and stop.epoch_detected)
    assert None in verdicts
    assert len(verdicts) > 3


def test_detection_does_not_depend_on_what_comes_later():
    """Asked after every eigenvalue: the first to answer is the answer of all."""
    values = [step(30)(epoch) for epoch in EPOCHS]
    for count in range(1, len(EPOCHS) + 1):
        stop = detect(EPOCHS[:count], values[:count], 49)
        assert stop == (Stop(32, 20) if EPOCHS[count - 1] >= 32 else None)


def test_local_averages():
    assert local_averages([]) == local_averages([1, 2]) == []
    assert local_averages([1, 2, 6]) == [3]
    assert local_averages([3, 1], window=1) == [3, 1]


def test_adaptation_goes_back_as_often_as_there_is_weight_decay():
    """Detected at 32, back to 20; the eigenvalues after it are new."""
    stop = found(step(30))
    kept = [epoch for epoch in EPOCHS if epoch <= stop.epoch_returned]
    values = [1.0] * len(kept)
    assert detect(kept, values, 49) is None
    again = detect([*kept, 22, 24], [*values, 2.0, 2.0], 49)
    assert again == Stop(24, 12)
    decays = [3e-4]
    while (more := adapt(decays[-1])) is not None:
        decays.append(more)
    np.testing.assert_allclose(decays, [3e-4, 3e-3, 3e-2])


def test_adaptation_stays_below_its_most():
    assert adapt(9e-4, factor=3) == pytest.approx(27e-4)
    assert adapt(243e-4, factor=3) == 0.03
    assert adapt(0.1) is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: detect([0, 2], [1.0], 49), "2 epochs and 1 eigenvalues"),
        (lambda: detect([0, 2, 6], [1.0] * 3, 49), "equally far apart"),
        (lambda: detect([2, 0], [1.0] * 2, 49), "in order"),
        (lambda: Rule(window=4), "window is 4; expected an odd number"),
        (lambda: Rule(window=0), "window is 0"),
        (lambda: Rule(distance=0), "distance is 0"),
        (lambda: Rule(ratio=-1.0), "ratio is -1.0"),
        (lambda: adapt(0.0), "weight_decay is 0.0"),
        (lambda: adapt(1e-3, factor=1), "factor is 1"),
        (lambda: width([("a", 0)]), "has 1 pairs; expected 8"),
        (lambda: depth([]), "has 0 pairs"),
        (lambda: depth([("a", 2)] * 8), "Node 2 reads from 2"),
    ],
)
def test_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# Cells.


@pytest.mark.parametrize(
    ("name", "wide", "deep"),
    [("darts_v2", 3.5, 3), ("pc_darts_cifar", 4, 2), ("sdarts_adv", 3, 4)],
)
def test_published_widths_and_depths(name, wide, deep):
    """SmoothDARTS, section 5.6.2."""
    cell = PUBLISHED[name].cells["normal"]
    assert (width(cell), depth(cell)) == (wide, deep)


def test_other_shapes_of_cells():
    flat = [("sep_conv_3x3", source) for _ in range(5) for source in (0, 1)]
    enas = SPACES["darts"]._replace(nodes=5)
    assert (width(flat, enas), depth(flat, enas)) == (5, 2)  # of the same section
    chain = [("sep_conv_3x3", source) for source in (0, 1, 1, 2, 2, 3, 3, 4)]
    assert (width(chain), depth(chain)) == (1.5, 5)
    single = [("nor_conv_3x3", 0), ("nor_conv_3x3", 1), ("nor_conv_3x3", 1)]
    space = SPACES["darts"]._replace(inputs=1, picks=1, nodes=3)
    assert (width(single, space), depth(single, space)) == (1, 3)


def test_parameter_free_share():
    """Table 5: SDARTS-ADV on S1, whose cell the authors released, has 0.125."""
    found = ["dil5", "dil3", "sep3", "skip_connect", "sep3", "dil3", "sep3", "dil3"]
    assert parameter_free_share([(name, 0) for name in found]) == 0.125
    collapsed = [("skip_connect", 0), ("max_pool_3x3", 1), ("noise", 0), ("none", 1)]
    assert parameter_free_share(collapsed) == 1


def test_operations_without_parameters_are_those_of_the_networks():
    named = {name for name in OPERATIONS if not is_parametric(name)}
    assert named == PARAMETER_FREE & set(OPERATIONS)
