"""Spaces drawn at random: properties of every space, not only of the known ones."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.nets import count_genotype, count_supernet, genotype_network, supernet
from nasjax.nets.count import parameters
from nasjax.spaces import SPACES, CellSpace, Macro
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.rules import (
    choose,
    decode,
    discretise,
    draw,
    one_hot,
    random_genotype,
)

OFFERED = (
    "none", "skip_connect", "max_pool_3x3", "avg_pool_3x3", "sep_conv_3x3",
    "dil_conv_5x5", "nor_conv_1x1", "nor_conv_3x3",
)  # fmt: skip
DRAWN = range(16)


def drawn(seed):
    rng = np.random.default_rng(seed)
    names = rng.permutation(OFFERED)[: rng.integers(2, 6)].tolist()
    if not set(names) - {"none"}:
        names.append("skip_connect")
    inputs, nodes = int(rng.integers(1, 3)), int(rng.integers(1, 5))
    block = inputs == 1
    return CellSpace(
        f"drawn_{seed}",
        tuple(names),
        nodes=nodes,
        types=("cell",) if block else ("normal", "reduce"),
        inputs=inputs,
        picks=int(rng.integers(1, 4)),
        output=(inputs + nodes - 1,) if block else None,
        none=bool(rng.integers(2)),
        reduction="block" if block else "cell",
        pool_norm=bool(rng.integers(2)),
    )


@pytest.fixture(params=DRAWN)
def space(request, monkeypatch):
    made = drawn(request.param)
    monkeypatch.setitem(SPACES, made.name, made)
    return made


def test_a_genotype_survives_json_and_one_hot(space):
    for seed in range(5):
        genotype = random_genotype(seed, space)
        again = Genotype.from_json(json.loads(json.dumps(genotype.to_json())))
        assert again == genotype and hash(again) == hash(genotype)
        mix = one_hot(genotype, space)
        back = decode(mix, mix, space)
        for kind in space.types:  # the lower source first in case of ties
            pairs = zip(space.targets, genotype.cells[kind], strict=True)
            twin = zip(space.targets, back.cells[kind], strict=True)
            assert sorted(pairs) == sorted(twin)


def test_what_is_drawn_in_programs_is_an_architecture(space):
    for seed in range(5):
        mix = jax.device_get(
            jax.jit(lambda key: draw(key, space))(jax.random.key(seed))
        )
        genotype = discretise(mix, space)
        assert genotype == decode(mix, mix, space)
        chosen = choose(mix, space)
        for kind in space.types:
            np.testing.assert_array_equal(chosen[kind].ops, mix[kind].ops)


def test_counts_are_those_of_the_networks(space):
    image, channels, cells = (16, 16, 3), 4, 3
    macro = Macro.of(space, channels, cells, "cifar")
    genotype = random_genotype(0, space)
    for model, counted in (
        (
            genotype_network(genotype, macro, 5),
            count_genotype(genotype, channels, cells, 5, 16, 3, "cifar"),
        ),
        (
            supernet(space, macro, 5),
            count_supernet(space, channels, cells, 5, 16, 3, "cifar"),
        ),
    ):
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *image)))
        assert parameters(shapes["params"]) == counted["params"]
