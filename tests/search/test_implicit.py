"""What a run of implicit search says about an inverse that has not solved its system."""

import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import harness

from nasjax.experiment.defaults import SMALL, settings
from nasjax.hypergrad import cg, neumann
from nasjax.search.algorithms import implicit


def own(**changes):
    return SimpleNamespace(**implicit.settings("embedded") | changes)


def said(**changes):
    """The remark on the first move of alpha on the toy, and what the log has of it."""
    config = harness.config()
    config.arch.implicit.update(tolerance=0.0, **changes)
    training = harness.case("implicit", "one").search.problem.training
    search = harness.built(
        harness.composed("implicit", config), harness.darts(("skip_connect", "noise")),
        training,
    )  # fmt: skip
    data = jax.tree.map(jnp.asarray, harness.halves())

    @jax.jit
    def move(key):
        state, program = search.init(key), search.program("alpha")
        return program.step(
            state, *program.batches.draw(search.problem.task, data, state)
        )[1]

    metrics = {k: float(v) for k, v in move(jax.random.key(0)).items()}
    return search.direction.remark(metrics), metrics


def test_a_run_says_that_conjugate_gradients_have_not_solved():
    remark, metrics = said(damping=1e-4, max_steps=2)
    residual = metrics["cg_residual"]
    assert residual > 0.1 and metrics["cg_steps"] == 2
    assert f"leave a relative residual of {residual:.2g} (" in remark
    for flag in ("damping (0.0001)", "max_steps (2)"):
        assert f"--config.arch.implicit.{flag}" in remark
    remark, metrics = said(damping=100.0, max_steps=5)
    assert remark is None and metrics["cg_residual"] < 0.1


def test_a_run_says_that_the_series_diverges():
    remark, metrics = said(inverse="neumann", damping=1.0, neumann_rate=10.0)
    assert metrics["neumann_last"] > 1
    assert "the Neumann series diverges" in remark
    assert "lower --config.arch.implicit.neumann_rate (10.0)." in remark
    remark, metrics = said(inverse="neumann", damping=1.0, neumann_rate=1e-4)
    assert remark is None and metrics["neumann_last"] < 1


@pytest.mark.parametrize(
    ("metrics", "changes", "words"),
    [
        ({}, {}, None),  # of a line before alpha has moved
        ({"cg_residual": 0.1, "cg_steps": 5.0}, {}, None),
        (
            {"cg_residual": 0.3, "cg_steps": 10.0},
            {},
            r"raise .*damping .* or .*max_steps",
        ),
        (
            {"cg_residual": 0.3, "cg_steps": 2.0},
            {"tolerance": 0.5},
            r"tolerance \(0\.5\)",
        ),
        (
            {"cg_residual": 1.0, "cg_steps": 0.0, "cg_negative_curvature": 1.0},
            {"curvature": "hessian"},
            r"raise .*damping .* or set .*curvature=ggn",
        ),
        ({"cg_residual": None, "cg_steps": 5.0}, {}, "leave no finite residual"),
        ({"neumann_last": 1.0}, {}, None),
        ({"neumann_last": None}, {}, "infinitely many times its first"),
        (
            {"neumann_last": 2.0},
            {"curvature": "hessian"},
            r"lower .* or raise .*damping",
        ),
    ],
)
def test_what_is_said(metrics, changes, words):
    remark = implicit.unsolved(metrics, own(**changes))
    assert remark is None if words is None else re.search(words, remark)


@pytest.mark.parametrize("variant", [None, SMALL, "cifar10"])
def test_the_defaults_solve_a_spectrum_like_a_supernets(variant):
    """The Gauss-Newton matrix of a small supernet: eigenvalues up to 10, many near 0."""
    given = settings(variant).arch.implicit
    values = 10 * np.logspace(0, -4, 200)
    assert values[0] == 10 and np.median(values) < 0.11
    matvec = lambda v: (values + given.damping) * v
    v = np.ones(200, np.float32)
    report = cg(given.max_steps, tol=given.tolerance).solve(matvec, v)[1]
    assert report["cg_residual"] < implicit.UNSOLVED
    report = neumann(given.neumann_rate, given.terms).solve(matvec, v)[1]
    assert report["neumann_last"] < 1
