"""Comparison of sets of runs, and tests for differences between sets."""

import functools
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from scipy import stats

from nasjax import cli
from nasjax.analysis import anytime, compare, compare_report, scores, significance
from nasjax.analysis.significance import holm, paired, t_test
from nasjax.core.errors import UserError
from nasjax.experiment import defaults
from nasjax.spaces.table import DATASETS, packaged
from nasjax.tasks.images import METRIC

OURS, THEIRS = [0.91, 0.95, 0.93, 0.96], [0.90, 0.92, 0.91]


def write(path, seed, accuracy, algorithm="darts_first", lines=(), arch=None, **more):
    """The folder of a run; the run is unfinished if accuracy is None."""
    path.mkdir(parents=True)
    own = {"rate": 0.1, "chunk": 0, **(arch or {})}
    config = {"format": defaults.FORMAT, "algorithm": algorithm, "seed": seed}
    config["arch"] = {algorithm: own}
    (path / "config.json").write_text(json.dumps(config))
    result = {"test_accuracy": accuracy, "params": 5, "dataset": "digits"} | more
    result.setdefault("metric", METRIC._asdict())
    if accuracy is not None or "true_accuracy" in more:
        (path / "result.json").write_text(json.dumps(result))
    text = "".join(json.dumps({"phase": "search", **line}) + "\n" for line in lines)
    (path / "metrics.jsonl").write_text(text)
    return str(path)


@pytest.fixture
def runs(tmp_path):
    """Folders of two sets of 4 and 3 runs, which differ in one field, and of another
    algorithm."""
    own = functools.partial(write, algorithm="zarts_rs")
    found = [own(tmp_path / f"a_{s}", s, value) for s, value in enumerate(THEIRS)]
    found += [
        own(tmp_path / f"b_{seed}", seed, value, arch={"rate": 0.2, "chunk": seed})
        for seed, value in enumerate(OURS)
    ]
    found.append(write(tmp_path / "c_0", 0, 0.5, "random_search"))
    write(tmp_path / "d_9", 9, 0.5, dataset="cifar10")
    return found


def tabulated(folders, *options):
    """The rows of all tables, as lists of cells."""
    report = compare.measure(compare.sets(folders), *options)
    lines = compare_report.markdown(report).splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]


def test_p_values_are_those_of_the_formulas():
    """Welch's statistic and degrees of freedom, and the one-sample statistic."""
    test = t_test(OURS, THEIRS)
    a, b = np.array(OURS), np.array(THEIRS)
    va, vb = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    t = (a.mean() - b.mean()) / np.sqrt(va + vb)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    assert test.p_value == pytest.approx(2 * stats.t.sf(abs(t), freedom))
    one = (a.mean() - b.mean()) / np.sqrt(va)
    assert test.p_one_sample == pytest.approx(2 * stats.t.sf(abs(one), len(a) - 1))
    assert test.counts == (4, 3) and test.deviations[0] == pytest.approx(a.std(ddof=1))


def test_what_does_not_vary():
    assert t_test([0.5, 0.5], [0.5, 0.5]).p_value == 1
    assert np.isnan(t_test([0.6, 0.6], [0.5, 0.5]).p_value)
    rounded = [float(np.float32(0.1)), 0.1]  # scipy would warn about lost precision
    assert np.isnan(t_test(rounded, [0.6, 0.7]).p_one_sample)
    with pytest.raises(UserError, match="two results or more, and the baseline has 1"):
        t_test([0.6, 0.7], [0.5])


def flipped(d):
    """The p-value over all signs of the differences, from the ranks of their sizes."""
    ranks = stats.rankdata(np.abs(d))
    signs = np.array(list(itertools.product((-1, 1), repeat=len(d))))
    sums = np.abs(signs @ ranks)
    return (sums >= abs(np.sign(d) @ ranks) - 1e-9).mean()


@pytest.mark.parametrize(
    "d",
    [
        [1, 2, 3, 4], [-1, 2, 3, 4, -5, 6, 7], [1, 1, 1, -1, 2, 2, -3], [2, 2, 2, 2],
        [-0.5, 12, 0.25, 3, -8, 90, 1, 2], [1, -1], [5, 5, -5, 1, 1, 1, 1, -9],
    ],
)  # fmt: skip
@pytest.mark.parametrize("equal", [0, 2])
def test_the_signed_rank_test_is_that_of_all_signs(d, equal):
    both = np.array([*d, *[0] * equal])
    base = np.arange(len(both)) * 16.0
    test = paired(base + both, base)
    assert test.p_value == pytest.approx(flipped(np.array(d)))
    if len({*np.abs(d)}) == len(d):
        assert test.p_value == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)
    assert paired(base, base + both).p_value == test.p_value
    less = paired(base + both, base, higher_is_better=False)
    assert less.superiority == pytest.approx(1 - test.superiority)
    assert less.difference == test.difference == pytest.approx(both.mean())


def test_equal_results_are_no_evidence():
    same = paired([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    assert same == (0, (0, 0), 0.5, (0, 1), 1)
    with pytest.raises(UserError, match="two seeds or more, not 1"):
        paired([0.5], [0.6])


def test_intervals_are_those_of_the_formulas():
    rng = np.random.default_rng(0)
    ours, base = rng.normal(size=(2, 10))
    d = ours - base
    half = 2.2621572 * d.std(ddof=1) / 10**0.5  # t(9)
    found = paired(ours, base)
    assert found.interval == pytest.approx((d.mean() - half, d.mean() + half))
    # All better: P(10 of 10) = 0.025 at the lower end. 5 better, 2 equal: of 5 and of 7.
    assert paired(base + 1, base).superiority_interval == pytest.approx((0.025**0.1, 1))
    d = np.array([1, 2, 3, 4, 5, 0, 0, -1, -2, -3])
    some = paired(d, 0 * d)
    assert some.superiority == 0.6
    low, high = some.superiority_interval
    assert stats.binom.sf(4, 10, low) == pytest.approx(0.025)
    assert stats.binom.cdf(7, 10, high) == pytest.approx(0.025)
    for wins in range(11):
        d = np.arange(10) - wins + 0.5
        exact = stats.binomtest(10 - wins, 10).proportion_ci()
        interval = paired(-d, 0 * d, higher_is_better=False).superiority_interval
        assert interval == pytest.approx(tuple(exact))


@pytest.mark.parametrize("collapse", [0.0, 0.2])
def test_the_intervals_and_the_level_hold(collapse):
    """With ten seeds; of either side a share of the seeds may collapse."""
    rng = np.random.default_rng(0)
    mean = better = low = 0
    for _ in range(1000):
        ours, base = rng.normal(0.93, 0.01, (2, 10)).round(2)
        for one in (ours, base):
            one[rng.random(10) < collapse] = 0.1
        test = paired(ours, base)
        mean += test.interval[0] <= 0 <= test.interval[1]
        better += test.superiority_interval[0] <= 0.5 <= test.superiority_interval[1]
        low += test.p_value <= 0.05
    assert mean / 1000 > 0.93 and better / 1000 > 0.95 and low / 1000 < 0.06
    if not collapse:
        assert mean / 1000 < 0.97


def test_holm_is_as_by_hand():
    corrected = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    expected = {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    assert corrected == pytest.approx(expected)
    assert holm({"a": 0.5, "b": 0.9}) == {"a": 1, "b": 1} and holm({}) == {}


def test_sets_are_configs_whatever_their_seeds(runs):
    found = compare.sets(runs)
    assert [*found] == [
        "zarts_rs arch.zarts_rs.rate=0.1",
        "zarts_rs arch.zarts_rs.rate=0.2",
        "random_search",
    ]
    assert [*found["zarts_rs arch.zarts_rs.rate=0.2"]] == [0, 1, 2, 3]


LOW, HIGH = (f"zarts_rs arch.zarts_rs.rate={rate}" for rate in (0.1, 0.2))


def test_table(runs):
    report = compare.measure(compare.sets(runs))
    lines = compare_report.markdown(report).splitlines()
    assert (
        lines[2] == f"| {LOW} | 0, 1, 2 | 91.00 ± 1.00 % | 91.00 % | 92.00 % | 2.00 |"
    )
    assert lines[3] == (f"| {HIGH} | 0-3 | 93.75 ± 2.22 % | 94.00 % | 96.00 % | 1.00 |")
    assert lines[4] == "| random_search | 0 | 50.00 % | 50.00 % | 50.00 % | 3.00 |"
    # Differences of 1, 3 and 2 points: a deviation of 1, and t(2) = 4.303.
    assert lines[8:10] == [
        f"| {HIGH} | {LOW} | 3 | +2.00 (-0.48 to +4.48) % | 100 (29 to 100) % | 0.25 | 0.25 |",
        "",
    ]
    assert lines[10].startswith("Mean rank: 1 is the best, over seeds 0. Difference: ")
    assert lines[12] == (
        f"The test of {HIGH} against {LOW} leaves out the seeds 3 (only {HIGH}). "
        "Not tested, because they share fewer than 2 seeds: random_search against "
        f"{LOW}."
    )
    # A version that logged nothing else wrote these runs.
    assert f"| {LOW} | {' | '.join(['-'] * 9)} |" in lines
    unpaired, test = t_test(OURS, THEIRS), report["sets"][HIGH]["metrics"]
    test = test["test_accuracy"]["paired"]
    assert (test["p_welch"], test["p_one_sample"]) == unpaired[-2:]


def test_the_baseline_is_chosen(runs):
    rows = tabulated(runs, HIGH)
    assert rows[7][:4] == [LOW, HIGH, "3", "-2.00 (-4.48 to +0.48) %"]
    assert rows[8][:2] == ["test accuracy", "found"]


def test_a_set_is_tested_against_its_own_base(tmp_path, capsys):
    accuracy = {
        "darts_first": (0.5, 0.6, 0.7), "darts_second": (0.6, 0.7, 0.9),
        "zarts_rs": (0.8, 0.4, 0.75), "sanas": (0.7, 0.75, 0.8),
    }  # fmt: skip
    for name, values in accuracy.items():
        for seed, value in enumerate(values):
            write(tmp_path / f"{name}-{seed}", seed, value, name)
    given = ["compare", str(tmp_path), "--against", "sanas", "darts_second"]
    assert cli.main([*given, "-o", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "compare.json").read_text())
    tests = {
        name: own["metrics"]["test_accuracy"]["paired"]
        for name, own in report["sets"].items()
    }
    bases = {name: test and test["against"] for name, test in tests.items()}
    assert bases == {
        "darts_first": None, "darts_second": "darts_first", "sanas": "darts_second",
        "zarts_rs": "darts_first",
    }  # fmt: skip
    assert tests["sanas"]["difference"] == pytest.approx(0.05 / 3, rel=1e-5)
    # Three tests are corrected together.
    assert tests["darts_second"]["p_value"] == 0.25
    assert tests["darts_second"]["p_holm"] == 0.75
    assert "| sanas | darts_second | 3 | +1.67 (" in capsys.readouterr().out
    assert cli.main([*given, "--against", "sanas", "sanas"]) == 2
    assert "names sanas twice" in capsys.readouterr().err
    assert cli.main([*given, "--against", "zarts_rs", "x"]) == 2
    assert "There is no set 'x' among darts_first, " in capsys.readouterr().err


def test_true_accuracies_stand_among_those_of_all_architectures(tmp_path):
    table, found = packaged(), (6111, 77, 3)
    texts = [table.architectures[row] for row in found]
    for seed, text in enumerate(texts):
        known = {name: a / 100 for name, a in table.accuracy(text).items()}
        write(tmp_path / str(seed), seed, None, true_accuracy=known)
    folders = [str(tmp_path / str(seed)) for seed in range(3)]
    for name in ("cifar10", "imagenet16"):
        report = compare.measure(compare.sets(folders), "", [f"true_{name}"])
        own = report["sets"]["darts_first"]["metrics"][f"true_{name}"]
        column = DATASETS[name]
        expected = [table.percentile(text, column) for text in texts]
        assert [*own["percentiles"].values()] == pytest.approx(expected)
        every = report["all_architectures"][f"true_{name}"]
        values = np.sort(table.column(column))
        assert every["count"] == 15_625 and every["best"] == values[-1] / 100
        assert every["quantiles"][50] == values[7812] / 100
        assert every["quantiles"][5] == pytest.approx(values[781] / 100, rel=1e-3)
    rows = compare_report.markdown(report).splitlines()
    assert f"({min(expected):.1f} to {max(expected):.1f}) |" in rows[2]
    names = [row.split(" | ")[0] for row in rows[3:8]]
    assert names == ["| all", *(f"| all, {q} %" for q in (5, 25, 75, 95))]
    assert rows[3].endswith("| 47.31 % | - | 50.0 |")
    alone = compare.measure(compare.sets(folders[:1]), "", ["true_imagenet16"])
    row = compare_report.markdown(alone).splitlines()[2]
    assert row.endswith(f" | {expected[0]:.1f} |")
    assert not compare.measure(compare.sets([write(tmp_path / "x", 0, 0.5)]))[
        "all_architectures"
    ]


def test_ranks_are_those_of_counting():
    """A rank is 1 + the number of better sets + half the number of equal sets."""
    rng = np.random.default_rng(0)
    values = {n: dict(enumerate(rng.integers(0, 4, 6) / 4)) for n in "abcde"}
    seeds = [0, 2, 5]
    ranks = scores.mean_ranks(values, seeds)
    for name, own in values.items():
        each = []
        for seed in seeds:
            others = [values[other][seed] for other in values if other != name]
            better = sum(other > own[seed] for other in others)
            each.append(1 + better + sum(other == own[seed] for other in others) / 2)
        assert ranks[name] == pytest.approx(sum(each) / len(each))
    assert any(rank % 1 for rank in ranks.values())
    assert scores.mean_ranks(values, []) == {}


def epoch(number, skips=(0.0, 0.0), **more):
    kept = {"kept_skips_normal": skips[0], "kept_skips_reduce": skips[1]}
    return {"epoch": number, "step": 10 * number, **kept, **more}


def test_cost_and_collapse(tmp_path):
    sides = {"width_normal": 3, "width_reduce": 4, "depth_normal": 2, "depth_reduce": 3}
    signs = {"entropy_normal": 1.0, "entropy_reduce": 1.5, **sides}
    log = [
        epoch(1, (0.9, 0.9), eigenvalue=0.25, parameter_free_normal=1.0),
        {"epoch": 2, "step": 15, "mix": {"normal": [[1]]}, "kept_skips_normal": 1.0},
        epoch(2, (0.5, 0.25), parameter_free_normal=0.75, **signs),
        {"epoch": 3, "step": 21, "loss": 1.0},  # a line within an epoch
    ]
    seconds = [{"search": 100.0, "compile": 30, "retrain": 9}]
    seconds.append({"search": 107.0, "compile": 40, "retrain": 9})
    first = write(
        tmp_path / "0", 0, 0.5, lines=log, seconds=seconds[0], gradient_evaluations=1000
    )
    second = write(
        tmp_path / "1", 1, 0.5, lines=[epoch(2, (0.5, 0.5))], seconds=seconds[1],
        gradient_evaluations=3001.0,
    )  # fmt: skip
    own = compare.measure(compare.sets([first, second]))["sets"]["darts_first"]
    assert own["cost"]["search_seconds"] == {
        "values": {0: 100.0, 1: 107.0},
        "mean": 103.5,
        "median": 103.5,
        "deviation": pytest.approx(7 / 2**0.5),
    }
    assert own["signals"]["kept_skips"]["values"] == {0: 0.375, 1: 0.5}
    assert own["signals"]["eigenvalue"]["values"] == {0: 0.25, 1: None}
    rows = tabulated([first, second])
    assert rows[-1] == [
        "darts_first", "104", "35", "2,000", "0.44", "0.75", "3.50", "2.50", "1.250",
        "0.25",
    ]  # fmt: skip
    assert rows[-3][-4:] == ["width, c", "depth", "entropy, nats", "eigenvalue"]


def test_signals_are_of_the_epoch_that_early_stopping_returned(tmp_path):
    log = [epoch(n, (n / 10, n / 10), eigenvalue=n) for n in range(1, 9)]
    stop = {"epoch_detected": 7, "epoch_returned": 2}  # from 0
    stopped = scores.Run("", {"stops": [stop]}, log)
    assert scores.signals(stopped)["kept_skips"] == pytest.approx(0.3)
    assert scores.signals(stopped)["eigenvalue"] == 3
    went_on = scores.Run("", {"stops": [stop]}, [*log, epoch(9, (0.9, 0.9))])
    assert scores.signals(went_on)["kept_skips"] == pytest.approx(0.9)


def test_what_was_rolled_back_does_not_count(tmp_path):
    log = [epoch(1), epoch(2, (1, 1)), {"phase": "search_1", **epoch(2, (0.5, 0.5))}]
    folder = write(tmp_path / "0", 0, 0.5, lines=log)
    run = compare.sets([folder])["darts_first"][0]
    assert [line["kept_skips_normal"] for line in run.lines] == [0, 0.5]


def test_metrics_that_are_meant_and_that_are_named(tmp_path):
    true = [{"cifar10": 0.9, "cifar100": 0.7}, {"cifar10": 0.8, "cifar100": 0.6}]
    more = {"supernet_valid_accuracy": 0.3}
    folders = [
        write(tmp_path / str(s), s, None, true_accuracy=own, **more)
        for s, own in enumerate(true)
    ]
    found = compare.sets(folders)
    own = compare.measure(found)["sets"]["darts_first"]["metrics"]
    assert [*own] == ["true_cifar10"]
    assert own["true_cifar10"]["mean"] == pytest.approx(0.85)
    names = ["true_cifar100", "supernet_valid_accuracy", "true_cifar100"]
    own = compare.measure(found, "", names)["sets"]["darts_first"]["metrics"]
    assert [*own] == names[:2] and own["true_cifar100"]["best"] == 0.7
    with pytest.raises(UserError, match="hold supernet_valid_accuracy, true_cifar10, "):
        compare.measure(found, "", ["test_accuracy"])

    # A run with only the supernet's accuracy, then a run with only the retrained one.
    folders.append(write(tmp_path / "2", 2, None, true_accuracy=None, **more))
    own = compare.measure(compare.sets(folders))["sets"]["darts_first"]["metrics"]
    assert [*own] == ["supernet_valid_accuracy"]
    folders.append(write(tmp_path / "3", 3, 0.9))
    with pytest.raises(UserError, match="none of test_accuracy, true_cifar10, "):
        compare.measure(compare.sets(folders))


def test_a_reading_of_alpha_is_a_metric(tmp_path):
    """A search that kept `none` and one that barred it, compared without it."""
    readings = {
        "with_none": {"genotype": {}, "true_accuracy": {"cifar10": 0.1}},
        "without_none": {"genotype": {}, "true_accuracy": {"cifar10": 0.9}},
    }
    for algorithm, own in (("darts_first", 0.1), ("zarts_mgs", 0.9)):
        lines = [epoch(1, true_cifar10_with_none=0.1, true_cifar10_without_none=0.9)]
        more = {"true_accuracy": {"cifar10": own}, "readings": readings}
        write(tmp_path / algorithm, 0, None, algorithm, lines, **more)
    found = compare.sets([str(tmp_path / n) for n in ("darts_first", "zarts_mgs")])
    name = "true_cifar10_without_none"
    for own in compare.measure(found, "", [name])["sets"].values():
        assert own["metrics"][name]["mean"] == 0.9
    _, panels = anytime.panels(found, [name])
    assert [curve.mean for curve in panels[name].values()] == [0.9, 0.9]
    with pytest.raises(UserError, match="true_cifar10_with_none, true_cifar10_without"):
        compare.measure(found, "", ["true_cifar10_read"])


def test_a_folder_stands_for_the_finished_runs_in_it(tmp_path):
    one, other = (write(tmp_path / "study" / f"a-{s}", s, 0.5) for s in (0, 1))
    left = write(tmp_path / "study" / "a-2", 2, None)
    (tmp_path / "study" / "a-2.log").write_text("going on")
    (tmp_path / "study" / "empty").mkdir()
    alone = write(tmp_path / "b", 0, 0.6, "random_search")
    found = compare.find([str(tmp_path / "study"), alone])
    assert found == ([one, other, alone], [left])
    assert compare_report.study([str(tmp_path / "study")]).endswith(
        f"Left out, not finished: {left}"
    )
    with pytest.raises(UserError, match="a-2 is not a finished run"):
        compare_report.study([left, one])
    with pytest.raises(UserError, match="is not a run: it holds no config.json"):
        compare_report.study([str(tmp_path / "study" / "empty")])
    for finished in (one, other):
        (Path(finished) / "result.json").unlink()
    with pytest.raises(UserError, match="None of the 3 runs in .*study is finished"):
        compare_report.study([str(tmp_path / "study")])


@pytest.fixture
def logged(tmp_path):
    """Two seeds of one search, and one seed of a search that costs 50 times as much."""

    def lines(values, cost):
        return [
            epoch(
                n, valid_accuracy=v, gradient_evaluations=cost * n, true_cifar10=v / 2
            )
            for n, v in enumerate(values, 1)
        ]

    more = {"true_accuracy": {"cifar10": 0.5}}
    return [
        write(tmp_path / "a0", 0, 0.9, lines=lines([0.1, 0.2, 0.3], 20), **more),
        write(tmp_path / "a1", 1, 0.8, lines=lines([0.3, 0.6], 20), **more),
        write(tmp_path / "b0", 0, 0.7, "zarts_mgs", lines([0.5, 0.7], 1000), **more),
    ]


def test_curves_are_means_over_the_epochs_that_all_seeds_have(logged):
    x, panels = anytime.panels(compare.sets(logged), ["test_accuracy", "true_cifar10"])
    assert x == "gradient_evaluations"
    assert [*panels] == ["valid_accuracy", "true_cifar10", "kept_skips"]
    one = panels["valid_accuracy"]["darts_first"]
    np.testing.assert_array_equal(one.x, [20, 40])
    np.testing.assert_allclose(one.mean, [0.2, 0.4])
    np.testing.assert_allclose(one.low, [0.1, 0.2])
    np.testing.assert_allclose(one.high, [0.3, 0.6])
    np.testing.assert_allclose(panels["true_cifar10"]["darts_first"].mean, [0.1, 0.2])
    alone = panels["valid_accuracy"]["zarts_mgs"]
    np.testing.assert_array_equal(alone.low, alone.high)
    np.testing.assert_array_equal(alone.x, [1000, 2000])


def test_without_skips_the_picture_shows_operators_without_parameters(tmp_path):
    lines = [epoch(n, valid_accuracy=0.5, parameter_free_normal=0.25) for n in (1, 2)]
    run = write(tmp_path / "s4", 0, 0.5, "darts_first", lines)
    _, panels = anytime.panels(compare.sets([run]), ["test_accuracy"])
    assert [*panels] == ["valid_accuracy", "parameter_free"]
    np.testing.assert_array_equal(panels["parameter_free"]["darts_first"].mean, 0.25)


def test_older_logs_are_drawn_over_epochs(tmp_path, logged):
    old = write(
        tmp_path / "old", 0, 0.5, "darts_second", [epoch(1, valid_accuracy=0.5)]
    )
    x, panels = anytime.panels(compare.sets([*logged, old]), ["true_cifar10"])
    assert x == "epoch"
    assert [*panels["true_cifar10"]] == ["darts_first", "zarts_mgs"]
    np.testing.assert_array_equal(panels["kept_skips"]["darts_second"].x, [1])
    np.testing.assert_array_equal(panels["kept_skips"]["darts_first"].x, [1, 2])


def test_the_picture_has_a_line_and_a_band_for_every_set(logged, monkeypatch):
    kept = []
    monkeypatch.setattr(anytime, "save", lambda figure, *_: kept.append(figure))
    assert anytime.draw(compare.sets(logged), ["test_accuracy"], "unused.png")
    (figure,) = kept
    accuracy, ends, skips, _ = figure.axes
    assert len(ends.lines) == 4  # a bar and a mean for each set
    assert len(accuracy.collections) == len(skips.collections) == 2
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["darts_first", "zarts_mgs"]
    assert skips.get_xscale() == "log"
    looks = {
        (one.get_color(), one.get_linestyle()) for one in figure.legends[0].get_lines()
    }
    assert len(looks) == 2
    judged = {"metric": METRIC._asdict()}
    assert not anytime.draw(
        {"old": {0: scores.Run("", judged, [])}}, ["x"], "unused.png"
    )


def test_twenty_sets_look_different(monkeypatch):
    kept = []
    monkeypatch.setattr(anytime, "save", lambda figure, *_: kept.append(figure))
    lines = [epoch(1, valid_accuracy=0.5)]
    judged = {"metric": METRIC._asdict()}
    many = {f"set {n}": {0: scores.Run("", judged, lines)} for n in range(20)}
    anytime.draw(many, ["test_accuracy"], "unused.png")
    looks = {
        (one.get_color(), one.get_linestyle()) for one in kept[0].legends[0].get_lines()
    }
    assert len(looks) == 20
    assert not kept[0].axes[0].collections  # bands would hide each other


def test_found_stands_beside_random_cells(tmp_path):
    each = {"test_examples": 100, "random_test_accuracy_each": [0.5, 0.6, 0.7]}
    runs = [
        write(tmp_path / "a", 0, 0.75, test_accuracy_each=[0.75], **each),
        write(tmp_path / "b", 1, 0.95, test_accuracy_each=[0.95], **each),
        write(tmp_path / "old", 0, 0.7, "zarts_mgs", random_test_accuracy=0.71),
    ]
    text = compare_report.study(runs)
    row = next(line for line in text.split("\n") if "| 75.00% to 95.00%" in line)
    for words in (
        "50.00% to 70.00%, mean 60.00%",
        "| 100 |",
        "25.00%",
        "in 2 of 2 seeds",
    ):
        assert words in row
    old = next(line for line in text.split("\n") if "| 70.00% | 71.00% | - |" in line)
    assert "One random cell does not show" in old
    report = compare.measure(compare.sets(runs))
    test = report["sets"]["darts_first"]["test"]
    assert test["examples"] == 100 and len(test["random"]) == 6


def test_the_report_is_written_by_the_command(tmp_path, logged, capsys):
    out = tmp_path / "report"
    options = ["--metric", "test_accuracy", "true_cifar10", "-o", str(out)]
    assert cli.main(["compare", *logged, *options]) == 0
    said = capsys.readouterr().out
    text = (out / "compare.md").read_text()
    assert said.startswith(text.partition("\n\n![")[0]) and "written: " in said
    assert imread(out / "compare.png").shape[1] > 1000
    report = json.loads((out / "compare.json").read_text())
    own = report["sets"]["darts_first"]
    assert own["metrics"]["test_accuracy"]["values"] == {"0": 0.9, "1": 0.8}
    assert own["metrics"]["test_accuracy"]["mean"] == pytest.approx(0.85)
    assert own["metrics"]["true_cifar10"]["mean_rank"] == 1.5
    assert own["folders"] == {"0": logged[0], "1": logged[1]}
    assert report["baseline"] == "darts_first" and report["shared_seeds"] == [0]
    assert report["sets"]["zarts_mgs"]["metrics"]["test_accuracy"]["deviation"] is None

    assert cli.main(["compare", logged[0], "-o", f"{logged[0]}/result.json"]) == 2
    assert "Cannot make the folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda runs: compare.sets([*runs, runs[0]]), "repeats seed 0 of zarts_rs"),
        (lambda runs: compare.sets([*runs, "nowhere"]), "There is no folder .*nowhere"),
        (lambda runs: compare.measure(compare.sets(runs), "x"), "There is no set 'x'"),
        (
            lambda runs: compare.sets([*runs, str(Path(runs[0]).parent / "d_9")]),
            "The runs are on cifar10 and digits; give runs on the same data",
        ),
        (
            lambda runs: compare.measure(compare.sets(runs), "", ["params"]),
            "have 'params'; their results hold test_accuracy",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(runs, change, words):
    with pytest.raises(UserError, match=words):
        change(runs)


def test_found_is_ranked_among_the_random_cells_of_its_seed(tmp_path):
    """The best of three in each of four seeds: 3^-4. Less is better in `error`."""

    def p(name, metric, found, random):
        runs = []
        for seed in range(4):
            more = {
                f"test_{metric.name}": found,
                f"random_test_{metric.name}_each": random,
                "metric": metric._asdict(),
            }
            runs.append(
                write(tmp_path / f"{name}{seed}", seed, None, true_accuracy={}, **more)
            )
        report = compare.measure(compare.sets(runs), "", [f"test_{metric.name}"])
        return report["sets"]["darts_first"]["test"]["p_above_random"]

    error = METRIC._replace(name="error", higher_is_better=False)
    assert p("a", METRIC, 0.9, [0.8, 0.1]) == pytest.approx(3**-4)
    assert p("b", METRIC, 0.9, [0.95, 0.99]) == 1
    assert p("c", error, 0.1, [0.2, 0.9]) == pytest.approx(3**-4)


@pytest.mark.parametrize("bad", [0.0, 0.2])
def test_the_level_of_the_test_of_ranks_holds(bad):
    """Found and random cells of one distribution, a share of which does not learn."""
    rng = np.random.default_rng(0)
    low = 0
    for _ in range(2000):
        values = rng.normal(0.97, 0.005, (8, 4)).round(3)
        values[rng.random((8, 4)) < bad] = 0.3
        seeds = [(row[0], row[1:]) for row in values]
        low += significance.above_random(seeds) <= 0.05
    assert 0.03 < low / 2000 < 0.06  # below 0.05, as sums of ranks are discrete
