"""Prices against the multiply-adds published for known cells."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.core.errors import UserError
from nasjax.nets.count import traced
from nasjax.nets.network import genotype_network
from nasjax.search import relax
from nasjax.search.penalties import budget
from nasjax.spaces import DARTS_7, Macro, Weights, darts
from nasjax.spaces.published import PUBLISHED
from nasjax.spaces.rules import choose, discretise, one_hot

SPACE = darts(DARTS_7)
CIFAR = Macro(36, 20), 10, (32, 32, 3)
IMAGENET = Macro(48, 14, "imagenet"), 1000, (224, 224, 3)
MACS = {  # CIFAR-10, ImageNet
    "darts_v2": (528_359_040, 529_911_552),
    "pdarts": (532_174_464, 542_819_328),
    "sdarts_adv": (526_755_456, 531_567_360),
}


AS_IT_IS = relax.uniform(SPACE)  # without a key alpha is its own mixing weights


def excess(penalty, arch):
    return penalty.of(None, None, arch, None)


@pytest.fixture(scope="module", params=[0, 1], ids=["cifar", "imagenet"])
def counted(request):
    net = (CIFAR, IMAGENET)[request.param]
    return request.param, budget.multiply_adds(SPACE, *net)


@pytest.mark.parametrize("name", MACS)
@pytest.mark.usefixtures("float64")
def test_the_price_of_a_known_cell_is_its_published_multiply_adds(name, counted):
    which, made = counted
    found = budget.price(SPACE, AS_IT_IS, *made, most=1e8, weight=0.5)
    arch = one_hot(PUBLISHED[name], SPACE)
    assert float(jax.jit(found.report)(arch)["price"]) == MACS[name][which]
    over = MACS[name][which] / 1e8 - 1
    np.testing.assert_allclose(excess(found, arch), 0.5 * over, rtol=1e-12)


def test_within_the_budget_nothing_is_added_and_there_is_no_derivative(counted):
    found = budget.price(
        SPACE, relax.softmax(SPACE), *counted[1], most=1e12, weight=0.5
    )
    arch = {kind: jnp.zeros(SPACE.alpha_shape(kind)) for kind in SPACE.types}
    assert float(excess(found, arch)) == 0
    tight = budget.price(SPACE, relax.softmax(SPACE), *counted[1], most=1.0, weight=0.5)
    assert float(excess(tight, arch)) > 0
    slopes = jax.tree.leaves(jax.grad(lambda arch: excess(tight, arch))(arch))
    assert all((slope == 0).all() for slope in slopes)


@pytest.mark.parametrize("seed", range(4))
def test_a_cell_of_its_own_at_every_place_costs_what_its_genotype_does(seed):
    """The price equals the count of the network itself, with 3 different cells."""
    space = SPACE.separate(3)
    macro, shape = Macro(4, 3), (9, 7, 1)
    made = budget.multiply_adds(space, macro, 5, shape)
    draws = np.random.default_rng(seed)
    draw = lambda kind: draws.random(space.alpha_shape(kind)).astype("f")
    mix = {kind: Weights(draw(kind)) for kind in space.types}
    found = budget.price(space, AS_IT_IS, *made, most=1.0, weight=1.0)
    network = genotype_network(discretise(mix, space), macro, 5, spelling="conv")
    assert (
        float(found.report(mix)["price"])
        == traced(network, {}, macro, (9, 7), 1)["macs"]
    )


@pytest.mark.parametrize("primitives", [DARTS_7, ("none", *DARTS_7)])
@pytest.mark.parametrize("levels", [3, 1000])  # with 3 levels many weights are equal
def test_programs_discretise_as_genotypes_do(primitives, levels):
    space = darts(primitives)
    draws = np.random.default_rng(levels)
    program = jax.jit(lambda mix: choose(mix, space))
    for _ in range(20):
        mix = {
            k: Weights(
                (draws.integers(0, levels, space.alpha_shape(k)) / levels).astype("f")
            )
            for k in space.types
        }
        wanted = one_hot(discretise(mix, space), space)
        for kind, chosen in program(mix).items():
            np.testing.assert_array_equal(chosen.ops, wanted[kind].ops)


def test_a_table_counts_the_uses(tmp_path):
    """darts_v2 with 20 cells: 18 normal ones with 5 separable 3x3, 1 dilated, 2 skips."""
    file = tmp_path / "latency.json"
    costs = {name: float(2**i) for i, name in enumerate(DARTS_7)}
    file.write_text(json.dumps(costs))
    made = budget.table(SPACE, CIFAR[0], str(file))
    found = budget.price(SPACE, AS_IT_IS, *made, most=1.0, weight=1.0)
    cells = PUBLISHED["darts_v2"].cells
    each = {k: sum(costs[op] for op, _ in pairs) for k, pairs in cells.items()}
    total = float(found.report(one_hot(PUBLISHED["darts_v2"], SPACE))["price"])
    assert total == 18 * each["normal"] + 2 * each["reduce"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("[", "cannot be read"),
        ('{"skip_connect": 1}', "no cost for 'max_pool_3x3'"),
        ("3", "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, content, said):
    file = tmp_path / "latency.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UserError, match=said):
        budget.table(SPACE, CIFAR[0], str(file))
