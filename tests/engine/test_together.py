"""Runs that go together, on a toy phase: a run that breaks leaves the others alone."""

import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.core.errors import UserError
from nasjax.engine.checkpoint import Checkpoints
from nasjax.engine.phase import Phase, Several
from nasjax.engine.progress import Progress
from nasjax.engine.together import run_together
from nasjax.engine.workdir import RunFolder

STEPS, BREAKS, SEEDS = 6, 5, (3, 4)


def phase(broken):
    """|w|^2 falls; the loss of the `broken` runs is infinite at step `BREAKS`."""

    def step(state, index):
        bad = jnp.where(index + 1 == BREAKS, jnp.inf, 0.0)
        loss = jnp.square(state["w"]).sum(1) + jnp.where(broken, bad, 0.0)
        return {"w": 0.9 * state["w"]}, {"loss": loss}

    def split(state):
        return [{"w": row} for row in np.asarray(state["w"])]

    init = lambda: {"w": jnp.arange(1.0, 5.0).reshape(2, 2)}
    made = Phase(
        "toy", STEPS, 3, init, step, lambda state: None, lambda state: {"valid": 1.0}
    )

    def alone(index):
        one = {"w": jax.ShapeDtypeStruct((2,), jnp.float32)}
        return made._replace(init=lambda: split(init())[index], shapes=lambda: one)

    join = lambda states: {"w": jnp.stack([own["w"] for own in states])}
    return made._replace(several=Several(SEEDS, alone, join, split))


def ran(place, broken):
    """(seed -> error, folders, output) of a group."""
    folders, out = [], io.StringIO()
    for seed in SEEDS:
        folders.append(RunFolder.open(place / str(seed), {"seed": seed}, {}))
    try:
        errors = run_together(phase(jnp.array(broken)), folders, Progress(out), 2, 1)
    finally:
        for folder in folders:
            folder.close()
    return errors, folders, out.getvalue()


def kept(folder):
    return Checkpoints(folder.path / "checkpoints" / "toy").steps()


def test_a_broken_run_ends_and_the_others_go_on(tmp_path):
    errors, (whole, broken), out = ran(tmp_path, [False, True])
    assert set(errors) == {4} and f"loss became {math.inf} at step 5" in str(errors[4])
    assert "seed 4 ended; the others go on" in out and "mean of 1 seed(s)" in out
    assert kept(whole) == [4, 6] and kept(broken) == [2, 4]
    assert [line["step"] for line in whole.metrics()] == [1, 2, 3, 4, 5, 6]
    assert [line["step"] for line in broken.metrics()] == [1, 2, 3, 4]
    again, folders, _ = ran(tmp_path / "again", [False, False])
    assert not again and [own["loss"] for own in folders[0].metrics()] == [
        own["loss"] for own in whole.metrics()
    ]


def test_a_group_in_which_all_break_says_so(tmp_path):
    errors, folders, _ = ran(tmp_path, [True, True])
    assert set(errors) == set(SEEDS)
    assert all(kept(folder) == [2, 4] for folder in folders)


def test_what_concerns_all_runs_is_raised(tmp_path):
    with pytest.raises(UserError, match="checkpoint_every"):
        folder = RunFolder.open(tmp_path / "a", {}, {})
        made = phase(jnp.zeros(2))
        run_together(made, [folder, folder], Progress(quiet=True), 0, 1)
