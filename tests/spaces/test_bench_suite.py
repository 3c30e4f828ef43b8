"""The benchmarks of DARTS-Bench-Suite that the spaces express."""

import runpy

import jax
import jax.numpy as jnp
import pytest
from conftest import ROOT

from nasjax.experiment import validate
from nasjax.nets import genotype_network, supernet
from nasjax.spaces import SPACES, Macro
from nasjax.spaces.genotype import check
from nasjax.spaces.rules import discretise, one_hot, random_genotype

SIZES = {"wide": (18, 4, 4), "deep": (7, 18, 4), "single_cell": (26, 1, 8)}
KEY, IMAGE = jax.random.key(0), jnp.zeros((1, 32, 32, 3))


def variant(name):
    made = runpy.run_path(str(ROOT / "configs" / "darts_first.py"))
    return validate.config(made["get_config"](f"cifar10-{name}"))


def by_hand(channels, cells, nodes, skip):
    """Parameters of a supernet of DARTS, added up: its batch norms have none but in the
    stem."""
    total, before, now, width = 27 * 3 * channels + 6 * channels, 0, 0, channels
    before = now = 3 * channels
    edges = sum(2 + node for node in range(nodes))
    for cell in range(cells):
        reduces = cell in {cells // 3, 2 * cells // 3}
        width *= 1 + reduces
        point = width * width
        kernels = 2 * (9 * width + point) + 2 * (25 * width + point)
        kernels += 9 * width + point + 25 * width + point
        total += before * width + now * width + edges * kernels
        if skip and reduces:
            total += 2 * nodes * point  # the skip of stride 2 is two convolutions
        before, now = now, 4 * width
    return total + now * 10 + 10


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("name", SIZES)
def test_supernets_have_the_parameters_of_the_suite(name, skip):
    config = variant(name if skip else f"{name}_no_skip")
    channels, cells, nodes = SIZES[name]
    space = SPACES[config.space.name]
    for part in (config.search, config.retrain):
        assert (part.channels, part.cells) == (channels, cells)
    assert ("skip_connect" in space.primitives) == skip
    assert space.nodes == nodes and len(space.concat) == 4
    macro = Macro.of(space, channels, cells, "cifar", search=True)
    model = supernet(space, macro, 10, "conv")
    variables = jax.eval_shape(model.init, KEY, IMAGE)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == by_hand(channels, cells, nodes, skip)


def test_a_cell_of_eight_nodes_is_an_architecture():
    space = SPACES["darts_8_nodes"]
    genotype = random_genotype(0, space)
    check(genotype, space)
    assert genotype.concat == (6, 7, 8, 9)
    assert [len(pairs) for pairs in genotype.cells.values()] == [16, 16]
    assert discretise(one_hot(genotype, space), space) == genotype
    macro = Macro.of(space, 4, 1, "cifar")
    model = genotype_network(genotype, macro, 10, spelling="conv")
    variables = jax.jit(model.init)(KEY, IMAGE)
    out, _ = model.apply(variables, {}, IMAGE, train=False)
    assert out.logits.shape == (1, 10)


def test_an_odd_width_is_halved_nowhere():
    """Maps are halved where the width has doubled: the parameters are as by hand."""
    macro = Macro.of(SPACES["darts"], 7, 3, "cifar", search=True)
    model = supernet(SPACES["darts"], macro, 10, "conv")
    variables = jax.eval_shape(model.init, KEY, IMAGE)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == by_hand(7, 3, 4, True)
