"""Sets of runs side by side, and whether they differ."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nasjax import compare
from nasjax.errors import UserError
from nasjax.significance import t_test

OURS, THEIRS = [0.91, 0.95, 0.93, 0.96], [0.90, 0.92, 0.91]


@pytest.fixture
def runs(tmp_path):
    """Folders of 4 + 3 runs that differ in one field, and of one more algorithm."""

    def write(
        name, seed, accuracy, algorithm="darts_first", rate=0.1, chunk=0, data="digits"
    ):
        folder = tmp_path / f"{name}_{seed}"
        folder.mkdir()
        arch = {"rate": rate, "chunk": chunk}
        config = {"algorithm": algorithm, "seed": seed, "arch": arch}
        (folder / "config.json").write_text(json.dumps(config))
        result = {"test_accuracy": accuracy, "params": 5, "dataset": data}
        (folder / "result.json").write_text(json.dumps(result))
        return str(folder)

    found = [write("a", seed, value) for seed, value in enumerate(THEIRS)]
    found += [
        write("b", seed, value, rate=0.2, chunk=seed) for seed, value in enumerate(OURS)
    ]
    found.append(write("c", 0, 0.5, "random_search"))
    write("d", 9, 0.5, data="cifar10")
    return found


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
    with pytest.raises(UserError, match="two results or more, and the baseline has 1"):
        t_test([0.6, 0.7], [0.5])


def test_sets_are_configs_whatever_their_seeds(runs):
    found = compare.sets(runs)
    assert [*found] == [
        "darts_first arch.rate=0.1",
        "darts_first arch.rate=0.2",
        "random_search",
    ]
    assert [*found["darts_first arch.rate=0.2"]] == [0, 1, 2, 3]


def test_table(runs):
    lines = compare.table(compare.sets(runs)).splitlines()
    test = t_test(OURS, THEIRS)
    name = "darts_first arch.rate=0.1"
    assert lines[2] == f"| {name} | 0, 1, 2 | 91.00 ± 1.00 % | 92.00 % |  |  |"
    assert lines[3] == (
        "| darts_first arch.rate=0.2 | 0, 1, 2, 3 | 93.75 ± 2.22 % | 96.00 % | "
        f"{test.p_value:.3g} | {test.p_one_sample:.3g} |"
    )
    assert lines[4] == "| random_search | 0 | 50.00 % | 50.00 % |  |  |"


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda runs: compare.sets([*runs, runs[0]]), "repeats seed 0 of darts_first"),
        (lambda runs: compare.sets([*runs, "nowhere"]), "There is no folder .*nowhere"),
        (lambda runs: compare.table(compare.sets(runs), "x"), "There is no set 'x'"),
        (
            lambda runs: compare.sets([*runs, str(Path(runs[0]).parent / "d_9")]),
            "The runs are on cifar10 and digits; give runs on the same data",
        ),
        (
            lambda runs: compare.table(compare.sets(runs), metric="params"),
            "have 'params'; their results hold test_accuracy",
        ),
    ],
)
def test_what_cannot_be_compared_is_said(runs, change, words):
    with pytest.raises(UserError, match=words):
        change(runs)
