"""S1 to S4: operator lists by edge, parameter counts, and the noise of S4."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.tiny import TwoCells

from nasjax.core.errors import UserError
from nasjax.monitors.alpha import mixing
from nasjax.nets import genotype_network, supernet
from nasjax.nets.count import parameters
from nasjax.nets.layers import Style
from nasjax.nets.operations import OPERATIONS, Noise
from nasjax.search.relax import softmax
from nasjax.spaces import SPACES, Macro, Weights
from nasjax.spaces.genotype import Genotype, check
from nasjax.spaces.published import PUBLISHED
from nasjax.spaces.rules import choose, discretise, draw, one_hot, random_genotype
from nasjax.tasks.base import At

KEY = jax.random.key(0)
HARD = ("s1", "s2", "s3", "s4")


COUNTS = {  # retrained: CIFAR-10 with C = 36 and 20 cells, the others with 16 and 8
    "adv_c10": (3_377_206, 4_281_382, 4_341_862, 4_701_718),
    "rs_c10": (3_405_502, 3_622_150, 4_311_622, 4_701_718),
    "adv_c100": (322_196, 407_700, 427_092, 434_132),
    "rs_c100": (266_612, 427_092, 434_132, 434_132),
    "adv_svhn": (270_042, 292_922, 331_706, 411_002),
    "rs_svhn": (160_730, 324_666, 403_962, 411_002),
}


IMAGE = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)


@functools.cache
def size(operation, channels, stride):
    """Number of parameters of an operation in a genotype's network."""
    module = OPERATIONS[operation](channels, stride, Style(False, "conv"))
    x = jax.ShapeDtypeStruct((4, channels, 4, 1), jnp.float32)
    variables = jax.eval_shape(lambda x: module.init(KEY, x, True), x)
    return parameters(variables.get("params", {}))


def chosen(cell, macro):
    """Number of parameters of a genotype's operations; the rest is set by the macro."""
    return sum(
        size(name, plan.channels, 2 if plan.type == "reduce" and source < 2 else 1)
        for plan in macro.plan()
        for name, source in cell.cells[plan.type]
    )


@functools.cache
def rest(macro, classes):
    """Number of parameters of a network outside the operations of its cells."""
    cell = PUBLISHED["sdarts_adv_c10_s1"]
    model = genotype_network(cell, macro, classes, spelling="conv")
    return parameters(jax.eval_shape(model.init, KEY, IMAGE)["params"]) - chosen(
        cell, macro
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_the_cells_of_smoothdarts_lie_in_their_spaces_and_have_its_parameters(name):
    data = name.split("_")[1]
    macro = Macro(36, 20) if data == "c10" else Macro(16, 8)
    classes = 100 if data == "c100" else 10
    for space, params in zip(HARD, COUNTS[name], strict=True):
        cell = PUBLISHED[f"sdarts_{name}_{space}"]
        check(cell, SPACES[space])
        assert rest(macro, classes) + chosen(cell, macro) == params


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rs_svhn_s1", "adv_c100_s2", "adv_svhn_s4"])
def test_networks_differ_by_the_parameters_of_their_operations(name):
    """The assumption of the counts above, on full networks of different cells."""
    *data, space = name.split("_")
    classes = 100 if "c100" in name else 10
    model = genotype_network(
        PUBLISHED[f"sdarts_{name}"], Macro(16, 8), classes, spelling="conv"
    )
    found = parameters(jax.eval_shape(model.init, KEY, IMAGE)["params"])
    assert found == COUNTS["_".join(data)][HARD.index(space)]


def test_s1_is_the_table():
    """Some rows of it, written out."""
    s1 = SPACES["s1"]
    assert s1.alpha_shape("normal") == s1.alpha_shape("reduce") == (14, 2)
    assert s1.operations("normal", (2, 4)) == ("skip_connect", "sep_conv_3x3")
    assert s1.operations("normal", (4, 5)) == ("dil_conv_3x3", "dil_conv_5x5")
    assert s1.operations("reduce", (1, 2)) == ("max_pool_3x3", "dil_conv_3x3")
    assert s1.operations("reduce", (1, 4)) == ("max_pool_3x3", "sep_conv_3x3")
    assert s1.operations("reduce", (0, 5)) == ("max_pool_3x3", "avg_pool_3x3")
    own = s1.separate(8)
    assert own.choices("cell_2") == own.choices("cell_5") == s1.choices("reduce")
    assert own.choices("cell_7") == s1.choices("normal")


def mixed(space):
    """Mixing weights of an alpha with large entries."""
    relaxation = softmax(space, 1.0)
    return relaxation.mix(relaxation.init(KEY), At())


@pytest.mark.parametrize("name", HARD)
def test_programs_discretise_as_genotypes_do(name):
    space = SPACES[name]
    mix = mixed(space)
    genotype = discretise(mix, space)
    check(genotype, space)
    chosen, expected = choose(mix, space), one_hot(genotype, space)
    sampled = draw(KEY, space)
    for kind in space.types:
        np.testing.assert_array_equal(chosen[kind].ops, expected[kind].ops)
        ops = sampled[kind].ops
        assert ops.sum() == 8 and not ops[~np.array(space.real(kind))].any()
    check(random_genotype(3, space), space)
    assert mixing(mix, genotype, space)["entropy_normal"] > 0


def test_an_operation_of_another_edge_is_refused():
    cell = PUBLISHED["sdarts_adv_c10_s2"]  # sep_conv_3x3 from node 0 to node 3
    with pytest.raises(UserError, match="did you mean|expected|known|skip_connect"):
        check(cell, SPACES["s1"])


def drawn(model, images):
    """Variables of a network, drawn without compiling its `init`."""
    draws = np.random.default_rng(0)
    variables = jax.eval_shape(model.init, KEY, images)
    normal = lambda leaf: draws.normal(0, 0.3, leaf.shape).astype(leaf.dtype)
    ones = lambda leaf: np.ones(leaf.shape, leaf.dtype)
    return {
        "params": jax.tree.map(normal, variables["params"]),
        "batch_stats": jax.tree.map(ones, variables["batch_stats"]),
    }


@pytest.mark.slow
def test_every_choice_of_s1_reaches_the_loss():
    """The cells alone are compared in tests/nets/test_network.py."""
    space = SPACES["s1"]
    model = supernet(space, TwoCells(4, 2), 3, spelling="shift")
    images = jax.random.normal(KEY, (2, 8, 8, 3))
    variables = drawn(model, images)
    mix = mixed(space)

    @jax.jit
    @jax.value_and_grad
    def loss(mix):  # examples weigh differently: the mean is 0 after batch norm
        logits = model.apply(variables, mix, images, train=True)[0].logits
        return logits[:, 0] @ jnp.array([1.0, -0.3])

    value, grads = loss(mix)
    assert jnp.isfinite(value)
    for kind in space.types:
        assert (jnp.abs(grads[kind].ops) > 1e-5).all()
    for kind, row in (("normal", 4), ("reduce", 12)):
        at = lambda h, kind=kind, row=row: loss(
            mix | {kind: Weights(mix[kind].ops.at[row, 1].add(h))}
        )[0]
        slope = (at(1e-2) - at(-1e-2)) / 2e-2
        np.testing.assert_allclose(slope, grads[kind].ops[row, 1], rtol=0.1, atol=2e-3)


def test_a_genotype_of_s1_with_an_alpha_for_each_cell_is_read_back():
    for space in (SPACES["s1"].separate(8), SPACES["s1"].separate(8).fixed()):
        found = random_genotype(0, space)
        assert Genotype.from_json(found.to_json(), space) == found


def test_noise_is_standard_normal_its_own_for_every_example_and_repeats():
    x, seeds = jnp.ones((64, 3, 64, 4)), jnp.arange(4, dtype=jnp.uint32)
    y = Noise(2).apply({}, x, True, seeds)
    assert y.shape == (32, 3, 32, 4)
    assert abs(y.mean()) < 0.03 and abs(y.std() - 1) < 0.03
    alone = Noise(2).apply({}, x[..., 2:3], False, seeds[2:3])
    np.testing.assert_array_equal(alone[..., 0], y[..., 2])
    assert abs(jnp.vdot(y[..., 0], y[..., 1])) / y[..., 0].size < 0.1


@pytest.mark.slow
def test_a_supernet_of_s4_draws_noise_for_every_example_from_its_key():
    space = SPACES["s4"]  # one cell, whose edges have both strides
    model = supernet(space, Macro(4, 1), 3, spelling="shift")
    images = jnp.tile(jax.random.normal(KEY, (1, 8, 8, 3)), (3, 1, 1, 1))
    variables = drawn(model, images)
    half = lambda kind: Weights(jnp.full(space.alpha_shape(kind), 0.5))
    mix = {kind: half(kind) for kind in space.types}
    run = jax.jit(
        lambda key: model.apply(variables, mix, images, train=False, key=key)[0].logits
    )
    keys = jax.random.split(KEY, 3)
    one, other = run(keys), run(keys[::-1])
    assert (one[0] != one[1]).all()
    np.testing.assert_allclose(one, other[::-1], rtol=1e-5)
    silent = jax.jit(functools.partial(model.apply, train=False))
    silent = silent(variables, mix, images)[0].logits
    np.testing.assert_allclose(silent[0], silent[1], rtol=1e-5)
