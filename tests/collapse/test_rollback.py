"""Searches that are ended or taken back, on eigenvalues made by hand."""

from types import SimpleNamespace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.collapse import rollback, verdict
from nasjax.collapse.early_stopping import Stop
from nasjax.engine.optim import Hyper
from nasjax.engine.phase import Phase
from nasjax.engine.progress import Progress
from nasjax.engine.signals import Interrupted
from nasjax.engine.workdir import RunFolder
from nasjax.experiment.defaults import FORMAT

EPOCHS, STEPS = 50, 3  # steps of an epoch


class State(NamedTuple):
    step: object
    total: object  # of all weight decays passed through


HYPER = Hyper(EPOCHS, rate=0.1, rate_min=0.0, weight_decay=3e-4)


def toy(jump, interrupt=None):
    """A search whose eigenvalue doubles at epoch `jump[weight decay]`, if it does."""

    search = SimpleNamespace(gradients=lambda steps: 2.0 * steps)

    def phase_of(name, hyper, spent):
        decay = hyper.weight_decay

        def step(state, index):
            assert int(state.step) == index
            if interrupt and interrupt.pop((name, index), None):
                raise KeyboardInterrupt
            state = State(state.step + 1, state.total + decay)
            return state, {"loss": state.total}

        def evaluate(state):
            epoch = int(state.step) // STEPS - 1
            high = epoch >= jump.get(round(decay, 6), 99)
            return {} if epoch % 2 else {"eigenvalue": 2.0 if high else 1.0}

        init = lambda: State(jnp.zeros((), jnp.int32), jnp.zeros(()))
        return Phase(
            name, EPOCHS * STEPS, STEPS, init, step, lambda state: None, evaluate
        )

    return (lambda hyper: search), phase_of


def watched(tmp_path, remedy, jump, interrupt=None):
    begin, phase_of = toy(jump, interrupt)
    watch = rollback.Watch(remedy, 2, log_every=1000, checkpoint_every=1000)
    with RunFolder.open(tmp_path / "run", {"format": FORMAT}, {}) as folder:
        found = rollback.run(
            "search", begin, phase_of, HYPER, watch, folder, Progress()
        )
        return found, folder.metrics(), folder.path / "checkpoints"


def test_early_stopping_returns_the_state_from_before_the_growth(tmp_path):
    """The doctest of `collapse.detect`: growth at 30 is seen at 32, 20 is returned."""
    found, lines, checkpoints = watched(tmp_path, "stop", {3e-4: 30})
    assert found.stops == [Stop(32, 20)]
    assert int(found.state.step) == 21 * STEPS
    np.testing.assert_allclose(found.state.total, 21 * STEPS * 3e-4, rtol=1e-5)
    assert max(line["step"] for line in lines) == 33 * STEPS
    assert found.gradients == 2 * 33 * STEPS
    # Kept: every measured state that may be returned, 12 epochs back, and no others.
    kept = sorted(
        int(path.name) // STEPS - 1 for path in (checkpoints / "search").iterdir()
    )
    assert kept == [20, 22, 24, 26, 28, 30, 32]


def test_nothing_is_stopped_without_growth_or_without_a_remedy(tmp_path):
    found, _, _ = watched(tmp_path / "a", "stop", {})
    assert not found.stops and int(found.state.step) == EPOCHS * STEPS
    found, _, checkpoints = watched(tmp_path / "b", "none", {3e-4: 30})
    assert not found.stops and int(found.state.step) == EPOCHS * STEPS
    assert len(list((checkpoints / "search").iterdir())) == 1  # of its last step


JUMPS = {3e-4: 30, 3e-3: 40, 3e-2: 20}


def test_adaptation_goes_back_with_more_weight_decay_until_there_is_no_more(tmp_path):
    """Back from 32 to 20, from 42 to 30, and with the largest decay to the end."""
    found, lines, _ = watched(tmp_path, "adapt", JUMPS)
    assert found.stops == [Stop(32, 20), Stop(42, 30)]
    total = STEPS * (21 * 3e-4 + 10 * 3e-3 + 19 * 3e-2)
    np.testing.assert_allclose(found.state.total, total, rtol=1e-5)
    assert int(found.state.step) == EPOCHS * STEPS
    assert [outcome.state.step for outcome in found.outcomes] == [99, 129, 150]
    assert found.gradients == 2 * (99 + (129 - 63) + (150 - 93))
    followed = verdict.followed(lines)
    steps = [line["step"] for line in followed]
    assert steps == [STEPS * (epoch + 1) for epoch in range(EPOCHS)]
    assert followed[20]["phase"] == "search" and followed[21]["phase"] == "search_1"
    assert followed[31]["phase"] == "search_2"


@pytest.mark.parametrize(
    "where", [("search", 70), ("search_1", 100), ("search_2", 149)]
)
def test_a_killed_search_goes_on_as_it_would_have(tmp_path, where):
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        watched(tmp_path, "adapt", JUMPS, {where: True})
    found, lines, _ = watched(tmp_path, "adapt", JUMPS)
    whole, expected, _ = watched(tmp_path / "whole", "adapt", JUMPS)
    assert found.stops == whole.stops and found.state == whole.state
    assert found.gradients == whole.gradients
    key = lambda line: (line["phase"], line["step"], line.get("eigenvalue"))
    assert [key(line) for line in lines] == [key(line) for line in expected]


def test_the_evaluation_is_that_of_the_state_returned(tmp_path):
    found, _, _ = watched(tmp_path, "stop", {3e-4: 30})
    assert found.evaluation == {"eigenvalue": 1.0}  # of epoch 20, not 32
