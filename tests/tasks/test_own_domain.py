"""Another kind of data is one file: points in the plane, judged by an error.

Search, retraining, test, report, comparison and resuming know nothing of it.
"""

import json
import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict
from support.toy import toy

from nasjax import cli
from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.core.limits import at_least
from nasjax.engine import progress
from nasjax.experiment import defaults, validate
from nasjax.experiment.run import run
from nasjax.spaces.mix import Weights
from nasjax.spaces.rules import one_hot
from nasjax.tasks import DOMAINS, Kind
from nasjax.tasks.base import Metric, Retraining, Task
from nasjax.tasks.retrain import TrainState


def error(out, batch):
    return jnp.square(out.logits[:, 0] - batch["y"]).mean()


class Points(NamedTuple):
    """y = sin(x_1) + x_2, learned by the toy network."""

    settings: object
    parts: tuple
    name: str = "points"
    metric: Metric = Metric("error", False, "{:.3f}")
    classes: tuple = ()

    @property
    def halves(self):
        return dict(zip(("weights", "arch"), self.parts, strict=False))

    @property
    def steps_per_epoch(self):
        return len(self.parts[0]["y"]) // self.settings.search.batch

    @property
    def depends(self):
        return None

    def check(self, space, devices):
        devices.check_batch(self.settings.search.batch)

    def staged(self, supernet):
        return self

    def optimizer(self, hyper):
        return lambda rate, clip=True: optax.sgd(rate)

    def rate(self, hyper):
        return lambda step: hyper.rate

    def supernet(self, space, edge, hyper, axis):
        model, batch = toy(space, 1, axis), self.settings.search.batch

        def init(key):
            found = model.init(key, jnp.zeros((1, 2, 1, 1)))
            return found["params"], found["batch_stats"]

        def outputs(w, mix, batch, train):
            variables = {"params": w, "batch_stats": batch["batch_stats"]}
            return model.apply(variables, mix, batch["x"], train=train)

        def clean(part, key, count):
            rows = jax.random.randint(key, (count,), 0, len(part["y"]))
            return jax.tree.map(lambda leaf: leaf[rows], part)

        def measure(w, stats, mix, part):
            out, _ = outputs(w, mix, {**part, "batch_stats": stats}, False)
            return {"loss": error(out, part), "error": error(out, part)}

        return Task(
            init, outputs, error, error, lambda out, b: {"error": error(out, b)},
            lambda part, key, step, order: clean(part, key, batch), clean, measure,
        )  # fmt: skip

    def final(self, space):
        return None

    def retraining(self, genotype, space, devices, first=None):
        mix = {
            k: Weights(jnp.array(w.ops)) for k, w in one_hot(genotype, space).items()
        }
        task = self.supernet(space, None, None, devices.axis)
        part = jax.tree.map(lambda *two: np.concatenate(two), *self.parts[:2])

        def init(key):
            w, stats = task.init(key)
            return TrainState(jnp.int32(0), key, w, stats, ())

        def step(state, batch, hyper):
            def loss(w):
                out, stats = task.outputs(w, mix, batch, True)
                return error(out, batch), stats

            batch = {**batch, "batch_stats": state.batch_stats}
            (value, stats), grad = jax.value_and_grad(loss, has_aux=True)(state.w)
            w = jax.tree.map(lambda w, g: w - hyper.rate * g, state.w, grad)
            state = state._replace(step=state.step + 1, w=w, batch_stats=stats)
            return state, {"loss": value}

        def batches(data, state):
            key = derive(state.key, "batch", state.step)
            return (task.draw({"x": data["x"], "y": data["y"]}, key, 0, None),)

        return Retraining(
            init, step, batches, (0,), part, self.steps_per_epoch,
            lambda state: (state.w, state.batch_stats),
            lambda own, part: task.measure(*own, mix, part), self.parts[2],
        )  # fmt: skip

    def size(self, genotype, space):
        return {"params": 7, "macs": 11}

    def describe(self):
        return f"points: {len(self.parts[0]['y'])} of them"

    def describe_supernet(self):
        return "a toy"

    def remarks(self, space):
        return ["points have no colours"]

    def maps(self, space):
        return None


def load(settings):
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(3):
        x = rng.normal(size=(settings.points.count, 2, 1, 1)).astype(np.float32)
        parts.append({"x": x, "y": np.sin(x[:, 0, 0, 0]) + x[:, 1, 0, 0]})
    return Points(settings, tuple(parts))


@pytest.fixture
def config(monkeypatch):
    kind = Kind(load, lambda scale: {"count": 64}, {"count": at_least(8)})
    monkeypatch.setitem(DOMAINS, "points", kind)
    config = defaults.settings()
    config.task, config.algorithm = "points", "darts_first+sdarts_rs"
    config.space.primitives = ("skip_connect", "sep_conv_3x3", "max_pool_3x3")
    config.search.update(epochs=3, warmup_epochs=1, batch=16, rate=0.002)
    config.retrain.update(epochs=4, rate=0.002, random=1)
    config.collapse.update(interval=1, images=8, products=2)
    config.update(compile_cache="off", log_every=2)
    return config


def test_a_run_knows_its_metric(config, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    folders = [str(tmp_path / name) for name in "ab"]
    result = run(config, folders[0])
    printed = capsys.readouterr().out
    assert result["metric"]["name"] == "error" and result["params"] == 7
    for name in ("test_error", "random_test_error", "supernet_valid_error"):
        assert 0 < result[name] < 9
    assert "test_accuracy" not in result
    assert f"test error {result['test_error']:.3f}" in printed
    assert "on points: 64 of them" in printed and "points have no colours" in printed
    lines = [text for text in printed.splitlines() if " epoch " in text]
    assert len(lines) == (3 + 4 + 4) * 2  # the middle and the end of each epoch
    assert max(map(len, lines)) <= 100
    assert max(text.count("  ") for text in lines) == 4, "five fields"
    assert re.fullmatch(
        r"search epoch 3/3  train loss \S+  valid error \d+\.\d{3}  "
        r"entropy of alpha \d\.\d{3}  \d:\d\d",
        next(text for text in lines if text.startswith("search epoch 3/3  ")),
    )
    assert "is not estimated for this kind of data" in printed
    text = (tmp_path / "a" / "metrics.jsonl").read_text()
    known = {name for line in text.splitlines() for name in json.loads(line)}
    assert {"mixed_error", "discretised_error", "valid_error", "eigenvalue"} <= known
    for picture in ("curves", "collapse", "alpha", "cells"):
        assert (tmp_path / "a" / f"{picture}.png").stat().st_size > 10_000
    assert cli.main(["show", folders[0]]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "test error" in shown and "entropy of alpha" in shown
    assert "gradient_evaluations" not in shown

    config.collapse.interval, config.retrain.epochs = 0, 12
    other = run(config, folders[1])  # trained for longer: a smaller error
    assert other["test_error"] < result["test_error"]
    out = tmp_path / "out"
    assert cli.main(["compare", *folders, "-o", str(out)]) == 0
    sets = json.loads((out / "compare.json").read_text())["sets"].values()
    ranks = [own["metrics"]["test_error"]["mean_rank"] for own in sets]
    assert ranks == [2.0, 1.0]
    assert f"{other['test_error']:.3f}" in (out / "compare.md").read_text()


def test_its_settings_are_checked(config, tmp_path):
    config.points.count = 4
    with pytest.raises(
        UserError, match="config.points.count is 4; expected an integer"
    ):
        run(config, tmp_path)
    config.task = "pixels"
    with pytest.raises(UserError, match="Unknown config.task 'pixels'"):
        run(config, tmp_path)
    assert isinstance(config.points, ConfigDict) and not list(tmp_path.iterdir())


def test_runs_on_images_do_not_know_it(config):
    """A kind of data that somebody registers changes no config of another kind."""
    config.task = "images"
    plain = defaults.pruned(config.to_dict())
    assert "points" not in plain and validate.config(config).task == "images"
    config.task = "points"
    assert defaults.pruned(config.to_dict())["points"] == {"count": 64}


@pytest.mark.parametrize("sentence", ["darts_second+sanas", "zarts_gld+budget"])
def test_what_needs_images_says_so(config, tmp_path, sentence):
    config.algorithm = sentence
    with pytest.raises(UserError, match="data of another kind"):
        run(config, tmp_path)
    assert not list(tmp_path.iterdir())


def test_errors_of_a_domain_are_its_own(config, tmp_path, monkeypatch):
    def broken(self, space, edge, hyper, axis):
        raise ValueError("points cannot do that")

    monkeypatch.setattr(Points, "supernet", broken)
    with pytest.raises(ValueError, match="points cannot do that$"):
        run(config, tmp_path)


def test_an_infinite_error_is_no_number_of_a_result(config, tmp_path, monkeypatch):
    infinite = lambda *given: {"error": jnp.inf, "loss": jnp.inf}
    made = Points.retraining
    monkeypatch.setattr(
        Points, "retraining", lambda *given: made(*given)._replace(test=infinite)
    )
    config.algorithm, config.collapse.interval = "darts_first", 0
    config.retrain.update(epochs=1, random=0)
    assert run(config, tmp_path)["test_error"] is None
