"""Searches give the numbers they gave before algorithms were composed of parts.

recorded.json: sentence -> seed -> metrics of every program of six steps, and alpha after
them, on the toy network of the contract tests, as version 0.1.0 of the first design
computed them (JAX 0.10.2). The steps are the same; drop path is rate * (epoch / epochs)
now and was (rate * epoch) / epochs, which rounds otherwise. One sentence was recorded
anew: in darts_second+sanas the second network's step at the end of an epoch took the drop
path of the next epoch.
"""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from support.harness import STEPS, case, forget

RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text())
# Differences of nearly equal losses amplify rounding.
LOOSE = {"zarts_gld": 1e-3, "zarts_mgs": 1e-3, "zarts_rs": 5e-3}


@pytest.mark.parametrize("sentence", RECORDED)
def test_the_numbers_are_those_of_before(sentence):
    this, close = case(sentence, "one"), LOOSE.get(sentence, 2e-4)
    for seed, expected in RECORDED[sentence].items():
        state = jax.jit(this.search.init)(jax.random.key(int(seed)))
        moves = []
        for index in range(STEPS):
            for own in this.search.programs:
                if own.cadence.due(index):
                    state, metrics = this.programs[own.name](state, this.data)
                    moves.append((own.name, jax.device_get(metrics)))
        for (name, found), (own, known) in zip(moves, expected["metrics"], strict=True):
            assert name == own and set(found) == set(known)
            for metric, value in known.items():
                where = f"{name}: {metric}, seed {seed}"
                given = float(found[metric])
                np.testing.assert_allclose(given, value, close, 1e-5, err_msg=where)
        for kind, known in expected["alpha"].items():
            alpha = np.asarray(getattr(state.arch[kind], "ops", state.arch[kind]))
            np.testing.assert_allclose(alpha, known, close, 1e-5, err_msg=kind)
    forget()
