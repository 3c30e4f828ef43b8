"""The example of a new algorithm in CONTRIBUTING.md."""

import re
from pathlib import Path

import jax
import numpy as np
from support.harness import case, forget

from nasjax.search import PARTS
from nasjax.search.algorithms import Part, partners

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text()


def test_it_is_a_word_like_any_other(monkeypatch):
    (program,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert 10 <= sum(map(bool, map(str.strip, program.splitlines()))) <= 20
    own = {"__name__": "own"}
    exec(program, own)
    monkeypatch.setitem(
        PARTS, "cooled", Part(own["build"], own["settings"], own["LIMITS"])
    )
    assert {"amended", "zarts_mgs", "sdarts_adv"} <= set(partners("cooled"))
    monkeypatch.setattr("nasjax.experiment.defaults.PARTS", PARTS)
    search = case("cooled+sdarts_rs", "one").search
    assert search.name == "first_order_uniform"
    state = jax.jit(search.init)(jax.random.key(0))
    alpha = state.arch["normal"]
    for step, tau in ((0, 5), (2, 5), (3, 5 ** (2 / 3)), (6, 5 ** (1 / 3))):
        mix = search.mix(state._replace(step=np.int32(step)))["normal"]
        np.testing.assert_allclose(mix.ops, jax.nn.softmax(alpha / tau), 1e-6)
    forget()
