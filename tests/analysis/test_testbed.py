"""Searches on tables with known results: order statistics, a sum, one peak."""

import csv
import itertools
import json

import jax.numpy as jnp
import numpy as np
import pytest

from nasjax import cli
from nasjax.analysis import testbed
from nasjax.analysis.methods import METHODS, evolution, losses, random_search
from nasjax.core.errors import UserError
from nasjax.spaces import SPACES
from nasjax.spaces.nasbench201 import architectures, to_string
from nasjax.spaces.rules import one_hot
from nasjax.spaces.table import Table, packaged

# The value of an architecture is a sum over its edges; the last operation is the best.
SUM = sum(np.ix_(*[6 * np.arange(4.0)] * 5))  # [4] * 5, at most 90
EVALUATIONS = 131  # no multiple of an update's evaluations, and more than a population


@pytest.fixture(scope="module", autouse=True)
def quickest():
    """Compiles without optimisation, because compiling takes nearly all of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(testbed, "_QUICK", {"xla_backend_optimization_level": 0})
        yield


@pytest.fixture(scope="module")
def traces():
    return testbed.trace(SUM, METHODS, seeds=8, evaluations=EVALUATIONS)


def expected_best(values, draws):
    """The mean of the best of `draws` uniform draws, by its distribution."""
    steps = (np.arange(values.size + 1) / values.size) ** draws
    return np.sort(values.ravel()) @ np.diff(steps)


def check_random_search(values, seeds, evaluations, counts):
    found = testbed.trace(values, {"random": random_search}, seeds, evaluations)
    best = values.ravel()[testbed.incumbents(values.ravel(), found["random"])]
    for draws in counts:
        own = best[:, draws - 1]
        error = own.std() / np.sqrt(seeds)
        assert abs(own.mean() - expected_best(values, draws)) < 4 * error


def test_random_search_is_as_good_as_order_statistics_say():
    values = np.random.default_rng(0).normal(size=(3, 3, 3))
    check_random_search(values, seeds=4000, evaluations=20, counts=(1, 2, 5, 20))


def test_random_search_on_the_packaged_table():
    values = packaged().grid("cifar10_valid_12ep")
    check_random_search(values, seeds=400, evaluations=300, counts=(1, 10, 300))


@pytest.mark.parametrize("name", METHODS)
def test_every_evaluation_is_counted_and_of_an_architecture(traces, name):
    assert traces[name].shape == (8, EVALUATIONS)
    assert traces[name].min() >= 0 and traces[name].max() < SUM.size


@pytest.mark.parametrize("name", METHODS)
def test_seeds_differ(traces, name):
    assert len(np.unique(traces[name], axis=0)) == 8


def test_a_seed_gives_the_same_run_whatever_runs_beside_it(traces):
    two = {name: METHODS[name] for name in ("evolution", "zero-order MGS")}
    again = testbed.trace(SUM, two, seeds=3, evaluations=EVALUATIONS)
    for name, own in again.items():
        np.testing.assert_array_equal(own, traces[name][:3])


def test_the_zero_order_methods_learn(traces):
    """The last twenty candidates have higher values than the first twenty."""
    for name in ("zero-order RS", "zero-order MGS", "zero-order GLD"):
        values = SUM.ravel()[traces[name]]
        assert values[:, -20:].mean() > values[:, :20].mean() + 6


def test_evolution_finds_the_one_optimum():
    methods = {"evolution": evolution(population=20, tournament=5)}
    found = testbed.trace(SUM, methods, seeds=20, evaluations=600)["evolution"]
    assert (SUM.ravel()[found].max(1) == 90).all()


def test_a_child_is_the_best_of_the_living_but_for_one_edge():
    """A tournament of 100 among five misses the best with probability 0.8^100 at most."""
    methods = {"evolution": evolution(population=5, tournament=100)}
    # With irrational steps no two architectures have the same value.
    steps = [np.sqrt(p) * np.arange(3) for p in (2, 3, 5, 7)]
    values = sum(np.ix_(*steps))
    found = testbed.trace(values, methods, seeds=4, evaluations=60)["evolution"]
    choices = np.stack(np.unravel_index(found, values.shape), -1)
    for run, own in zip(found, choices, strict=True):
        for child in range(5, 60):
            living = np.arange(child - 5, child)
            parent = living[values.ravel()[run[living]].argmax()]
            assert (own[child] != own[parent]).sum() == 1


def test_evolution_needs_someone():
    with pytest.raises(ValueError, match="population is 0; expected a positive"):
        evolution(population=0, tournament=5)


def test_incumbents_are_the_best_so_far():
    values = np.random.default_rng(0).integers(0, 9, 30).astype(float)
    numbers = np.random.default_rng(1).integers(0, 30, (4, 25))
    found = testbed.incumbents(values, numbers)
    for row, best in zip(numbers, found, strict=True):
        for i in range(25):
            assert best[i] == max(
                row[: i + 1], key=lambda n: values[n]
            )  # first of equals


def made_up(ops):
    """(signal, value) of an architecture."""
    convolutions = sum(op.startswith("nor_conv") for op in ops)
    return 10 * convolutions + ops.count("nor_conv_3x3"), 50 + 5 * convolutions


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of all architectures in random order, with a column that lacks some."""
    path = tmp_path_factory.mktemp("table") / "table.csv"
    every = list(architectures())
    np.random.default_rng(0).shuffle(every)
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        names = [f"{data}_test_200ep" for data in ("cifar10", "cifar100", "imagenet16")]
        rows.writerow(["cifar10_valid_12ep", *names, "arch", "some"])
        for index, genotype in enumerate(every):
            signal, worth = made_up([op for op, _ in genotype.cells["cell"]])
            some = worth if index else ""
            rows.writerow([signal, worth, 0, 0, to_string(genotype), some])
    return path


def test_the_loss_of_a_one_hot_alpha_is_that_of_the_table(table):
    read, space = Table.read(table), SPACES["nasbench201"]
    some = list(itertools.islice(architectures(), 0, None, 97))
    alpha = np.stack([one_hot(genotype, space)["cell"].ops for genotype in some])
    for column in ("cifar10_valid_12ep", "cifar10_test_200ep"):
        found = losses(jnp.asarray(read.grid(column)), jnp.asarray(alpha))
        values = read.column(column)[[read.row(genotype) for genotype in some]]
        np.testing.assert_array_equal(found, 100 - values)


@pytest.fixture
def two_methods(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    own = {"random search": random_search, "evolution": evolution(20, 5)}
    monkeypatch.setattr(testbed, "METHODS", own)


def test_a_study(table, two_methods, tmp_path):
    folder = tmp_path / "new" / "study"
    text = testbed.study(table, seeds=5, evaluations=400, output=folder)
    written = [f"testbed.{ending}" for ending in ("json", "md", "png")]
    assert sorted(path.name for path in folder.iterdir()) == written
    shown, line = text.rsplit("\n\n", 1)
    assert line.startswith("written: ") and str(folder / "testbed.png") in line
    assert (folder / "testbed.md").read_text().startswith(shown)
    found = json.loads((folder / "testbed.json").read_text())
    assert (found["best_signal"], found["best_by_signal"], found["best"]) == (
        66,
        80,
        80,
    )
    assert list(found["methods"]) == ["random search", "evolution"]
    evolved = found["methods"]["evolution"]
    assert evolved["final"] == [80] * 5 and evolved["found_best_signal"] == 1
    assert evolved["final_quantiles"] == {"10": 80, "50": 80, "90": 80}
    assert "| evolution | 80.00 ± 0.00 | 80.00 | 80.00 | 80.00 | 100 % |" in text
    for own in found["methods"].values():
        assert len(own["mean"]) == len(own["deviation"]) == 400
        assert own["mean"][-1] == pytest.approx(np.mean(own["final"]), rel=1e-5)
        assert own["deviation"][-1] == pytest.approx(np.std(own["final"], ddof=1))
        assert (np.diff(own["signal_mean"]) >= 0).all()
    assert 5 < found["methods"]["random search"]["distinct"] <= 400


def test_a_study_of_one_evaluation(table, two_methods, tmp_path):
    text = testbed.study(table, seeds=1, evaluations=1, output=tmp_path / "one")
    assert "±" not in text.split("\n")[2] and "| 1 |" in text


def test_without_a_table_the_packaged_one_is_studied(two_methods, capsys):
    assert cli.main(["testbed", "--seeds", "1", "--evaluations", "2"]) == 0
    text = capsys.readouterr().out
    assert "best by cifar10_valid_12ep has 94.37; " in text
    assert "largest in the table is 94.37" in text


def test_the_signal_is_taken_from_the_columns_that_there_are(
    table, two_methods, tmp_path
):
    """With the documented columns alone the methods see the column that judges."""
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    needed = [name for name in rows[0] if name == "arch" or "_test_200ep" in name]

    def studied(*more):
        path = tmp_path / "table.csv"
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, [*needed, *more], extrasaction="ignore")
            writer.writeheader()
            for row in rows:
                own = row["cifar10_valid_12ep"]
                writer.writerow(dict.fromkeys(more, own) | row)
        return testbed.study(path, seeds=1, evaluations=1)

    assert "see cifar10_test_200ep; --signal=COLUMN takes another" in studied()
    assert "so the methods see cifar10_valid_200ep" in studied("cifar10_valid_200ep")
    assert "so the methods see" not in testbed.study(table, seeds=1, evaluations=1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"seeds": 0}, "There are 0 seeds; give --seeds 1 or more"),
        ({"evaluations": -1}, "There are -1 evaluations; give --evaluations 1"),
        ({"signal": "some"}, "no value for 1 of .* take cifar10_valid_12ep or"),
        ({"report": "worth"}, "Unknown column 'worth'"),
        (
            {"output": "{table}/below"},
            "Cannot make the folder .* give another one with",
        ),
    ],
)
def test_what_a_study_refuses(table, arguments, sentence):
    given = {
        name: value.format(table=table) if isinstance(value, str) else value
        for name, value in arguments.items()
    }
    with pytest.raises(UserError, match=sentence):
        testbed.study(table, **given)
