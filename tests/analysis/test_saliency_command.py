"""Saliency maps of runs: pictures, areas, and inference on reweighted images."""

import json
import runpy
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from matplotlib.image import imread
from support.tiny import shrink

import nasjax
from nasjax import cli
from nasjax.analysis import maps, runs
from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.engine.progress import Progress
from nasjax.plots import heatmaps
from nasjax.tasks.retrain import reweighting


def network(x):
    """Logits [B, 3]."""
    w = jnp.asarray(np.random.default_rng(1).normal(size=(24, 3)), jnp.float32)
    return jnp.sin(x.reshape(len(x), -1)) @ w


def test_areas_are_those_of_pixels_taken_one_by_one():
    """Areas agree with NumPy on 4x3 pixels of 2 channels with different heats."""
    draws = np.random.default_rng(2)
    images = draws.normal(size=(3, 4, 3, 2)).astype(np.float32)
    heat = draws.permutation(36).reshape(3, 4, 3).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 3)
    found = maps.areas(network, jnp.asarray(images), jnp.asarray(heat), keys)
    for i in range(3):
        label = int(network(images[i : i + 1]).argmax())
        order = np.argsort(-heat[i].reshape(-1))
        curves = {"deletion": [], "insertion": []}
        for gone in range(13):
            taken = np.zeros(12, bool)
            taken[order[:gone]] = True
            taken = taken.reshape(4, 3, 1)
            for name, kept in (("deletion", ~taken), ("insertion", taken)):
                shares = jax.nn.softmax(network((images[i] * kept)[None]))
                curves[name].append(float(shares[0, label]))
        for name, curve in curves.items():
            area = np.trapezoid(curve, dx=1 / 12)
            np.testing.assert_allclose(found[name][i], area, rtol=1e-5)


def test_equal_pixels_come_in_random_order():
    """A constant map is no better than chance when one corner decides."""
    corner = lambda x: jnp.stack([9 * x[:, 0, 0, 0], 0 * x[:, 0, 0, 0]], 1)
    images = jnp.ones((400, 4, 4, 1))
    keys = jax.random.split(jax.random.key(1), 400)
    found = maps.areas(corner, images, jnp.ones((400, 4, 4)), keys)
    # 1 until the corner is removed, then 1/2; on average after half of the pixels.
    assert abs(found["deletion"].mean() - 0.75) < 0.02
    assert abs(found["insertion"].mean() - 0.75) < 0.02


def test_the_picture_shows_what_it_says(tmp_path):
    """A heat map with one hot pixel has a warm colour there and nowhere else."""
    images = np.full((2, 4, 4, 1), 128, np.uint8)
    heat = np.zeros((2, 4, 4))
    heat[:, 1, 2] = 3.0
    file = tmp_path / "maps.png"
    heatmaps.draw(images, {"a": {"attack": heat}, "b": {"attack": heat}}, file)
    heatmaps.draw(
        images, {"a": {"attack": heat}}, tmp_path / "named.svg", ["7: $x", "b"]
    )
    picture = imread(file)[..., :3]
    red = (picture[..., 0] > 0.4) & (picture[..., 1] < 0.1) & (picture[..., 2] < 0.1)
    blue = (picture[..., 2] > 0.15) & (picture[..., 0] < 0.25) & (picture.sum(-1) < 0.6)
    assert 14 < blue.sum() / red.sum() < 16, "1 of 16 pixels, in 4 heat maps"
    with pytest.raises(UserError, match="no folder|cannot|Cannot"):
        heatmaps.draw(images, {"a": {"attack": heat}}, tmp_path / "no" / "maps.png")


SENTENCE = "darts_first+sanas"  # compiles sooner than the default
TWO_RUNS = pytest.mark.slow_compile(
    reason="whoever asks first for the two runs compiles a search and three networks"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two finished SANAS runs with different seeds; the first has a reweighted network.

    The networks have one cell, a reduction; the tests do not depend on the number.
    """
    found = []
    for seed in (0, 1):
        file = ROOT / "configs" / "sanas_darts2.py"
        config = shrink(runpy.run_path(str(file))["get_config"]())
        config.algorithm, config.seed = SENTENCE, seed
        config.search.cells = config.retrain.cells = 1
        config.retrain.random, config.retrain.reweighted = 0, seed == 0
        found.append(tmp_path_factory.mktemp("runs") / f"sanas_{seed}")
        nasjax.run(config, found[-1], Progress(quiet=True))
    return found


def differ(a, b):
    leaves = zip(*map(jax.tree.leaves, (a["params"], b["params"])), strict=True)
    return all((x != y).any() for x, y in leaves)


@pytest.mark.slow
@TWO_RUNS
def test_a_network_that_still_trains_is_not_shown(finished, tmp_path):
    """A run that was killed in its retraining has only the maps of the search."""
    shutil.copytree(finished[1], tmp_path / "killed")
    folder = tmp_path / "killed" / "checkpoints" / "retrain"
    (newest,) = folder.iterdir()
    newest.rename(folder / str(int(newest.name) - 1))
    assert runs.retrained(runs.load(tmp_path / "killed")) is None
    assert runs.retrained(runs.load(finished[1])) is not None


@pytest.mark.slow
@TWO_RUNS
def test_the_second_network_is_trained_and_tested_on_reweighted_images(finished):
    result, plain = (json.loads((run / "result.json").read_text()) for run in finished)
    assert plain["reweighted_test_accuracy"] is None
    run = runs.load(finished[0])
    model, first = runs.retrained(run)
    _, second = runs.retrained(run, "reweighted")
    images_of, both = reweighting(model, run.experiment.domain.attack, "scaled")
    index = np.arange(len(run.experiment.domain.data.test.label))
    images, _, label = maps.prepared_images(run, index)
    own = derive(jax.random.key(0), "evaluation")  # the evaluation's key
    keys = jax.vmap(lambda i: jax.random.fold_in(own, i))(index)
    seen = images_of(first, images, keys)
    assert (abs(seen) <= abs(images) + 1e-6).all(), "weights are from 0 to 1"
    out, _ = model.apply(second, {}, seen, train=False)
    given = {**second, "first": first}
    same, _ = both.apply(given, {}, images, train=False, key=keys)
    np.testing.assert_allclose(out.logits, same.logits, atol=1e-4)
    hits = (out.logits.argmax(-1) == label).mean()
    assert abs(hits - result["reweighted_test_accuracy"]) < 1.5 / len(label)
    assert differ(first, second), "a network of its own"
    logged = [line["phase"] for line in run.folder.metrics()]
    assert logged.index("reweighted") > logged.index("retrain")


@pytest.mark.slow
@TWO_RUNS
def test_the_command_draws_and_measures_two_runs(finished, tmp_path, capsys):
    first, second = map(str, finished)
    arguments = ["--images", "3", "5", "--count", "40", "-o", str(tmp_path)]
    assert cli.main(["saliency", first, "--beside", second, *arguments]) == 0
    assert "integrated gradients" in capsys.readouterr().out
    report = json.loads((tmp_path / "saliency.json").read_text())
    assert report["images"] == 40 and report["shown"] == [3, 5]
    assert [run["name"] for run in report["runs"]] == ["sanas_0", "sanas_1"]
    for run in report["runs"]:
        for net in ("search", "final"):
            assert {*run[net]["maps"]} == {*maps.METHODS, *maps.CONTROLS}
            assert run[net]["maps"]["random"]["gain"] == 0
            for own in run[net]["maps"].values():
                assert 0 < own["deletion"] < 1 and 0 < own["insertion"] < 1
        assert run["inference"]["reweighted_ms"] > run["inference"]["plain_ms"] > 0
    for name in ("search", "final"):
        height, width, _ = imread(tmp_path / f"saliency_{name}.png").shape
        assert width > 5 * height, "2 rows, 17 columns"
    assert cli.main(["saliency", first, "--images", "9999"]) == 2
    assert "There is no test image 9999 of digits" in capsys.readouterr().err
    assert cli.main(["compare", first, second]) == 0
    assert f"| {SENTENCE} retrain.reweighted=True |" in capsys.readouterr().out
