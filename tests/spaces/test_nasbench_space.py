"""NAS-Bench-201: published counts, the cell and its macro, and every algorithm on it."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from support import harness

from nasjax import nets
from nasjax.core.errors import UserError
from nasjax.engine import optim
from nasjax.experiment.defaults import settings
from nasjax.monitors.cells import depth, width
from nasjax.nets.cells import FixedCell, MixedCell, runs
from nasjax.nets.layers import ResidualBlock, Style, drawn
from nasjax.nets.operations import NO_DRAWS
from nasjax.plots import genotypes
from nasjax.search import PARTS, Training
from nasjax.spaces import NASBENCH_201, SPACES, Macro, Weights
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.rules import choose, discretise, draw, one_hot, random_genotype
from nasjax.tasks.classification import Final

SPACE = SPACES["nasbench201"]


def cell_of(*operations):
    pairs = zip(operations, (source for source, _ in SPACE.edges), strict=True)
    return Genotype("nasbench201", {"cell": tuple(pairs)}, (3,))


@pytest.mark.parametrize(
    ("operation", "ten", "hundred", "macs"),
    [
        ("nor_conv_3x3", 1_531_546, 1_537_396, 220.12),
        ("nor_conv_1x1", 241_306, 247_156, 31.38),
        ("skip_connect", 73_306, 79_156, 7.78),
        ("none", 73_306, 79_156, 7.78),
        ("avg_pool_3x3", 73_306, 79_156, 7.78),
    ],
)
def test_published_counts(operation, ten, hundred, macs):
    """Counts of AutoDL-Projects' TinyNetwork, C = 16, N = 5, on CIFAR images."""
    cell = cell_of(*[operation] * 6)
    counted = nets.count_genotype(cell, 16, 15, 10, 32)
    assert counted["params"] == ten
    assert round(counted["macs"] / 1e6, 2) == macs
    assert nets.count_genotype(cell, 16, 15, 100, 32)["params"] == hundred


def test_the_macro_has_two_blocks_whatever_its_depth():
    for cells, at in ((15, (5, 10)), (3, (1, 2)), (4, (1, 2)), (1, (0,))):
        macro = Macro.of(SPACE, 16, cells, "cifar")
        assert macro.reductions == at and macro.stem_width == 16
        widths = [plan.channels for plan in macro.plan()]
        assert widths == [16 * 2 ** sum(i >= a for a in at) for i in range(cells)]
    assert Macro.of(SPACE, 16, 15, "cifar").map_sizes(32)[-1] == 8


STYLE = Style(True, "conv")
PLAN = Macro.of(SPACE, 4, 3, "cifar").plan()[0]


def cell_output(made, x):
    """A cell's output for x [H, 4, W, B]; made: a genotype or mixing weights [6, 5]."""
    if isinstance(made, Genotype):
        cell = FixedCell(made.cells["cell"], SPACE, PLAN, STYLE)
        given = None, None, NO_DRAWS
    else:
        cell = MixedCell(SPACE, PLAN, runs(SPACE, "cell", False), STYLE)
        given = Weights(made), jnp.array(SPACE.edges), NO_DRAWS

    @jax.jit
    def run(x):
        variables = cell.init(jax.random.key(1), x, x, *given, True)
        return cell.apply(variables, x, x, *given, True, mutable="batch_stats")[0]

    return np.asarray(run(x))


@pytest.mark.parametrize("supernet", [True, False])
def test_identities_add_up(supernet):
    """Nodes x, x, 2 x and 4 x where all edges skip; 3 x where edge (1, 2) is `none`."""
    x = jax.random.normal(jax.random.key(0), (5, 4, 6, 2))
    for operations, times in (
        (["skip_connect"] * 6, 4),
        ([*["skip_connect"] * 2, "none", *["skip_connect"] * 3], 3),
        (["none"] * 6, 0),
    ):
        cell = cell_of(*operations)
        made = one_hot(cell, SPACE)["cell"].ops if supernet else cell
        np.testing.assert_allclose(cell_output(made, x), times * x, rtol=1e-6)


def test_a_supernet_mixes_linearly_and_its_pools_have_no_batch_norm():
    """Edge (0, 3) alone: a pool is the mean of its window, without a batch norm."""
    x = jax.random.normal(jax.random.key(0), (6, 4, 6, 2))
    weights = jnp.zeros((6, 5)).at[3].set(jnp.array([0.2, 0.3, 0.0, 0.0, 0.5]))
    around = np.pad(x, ((1, 1), (0, 0), (1, 1), (0, 0)), constant_values=np.nan)
    window = [around[i : i + 6, :, j : j + 6] for i in range(3) for j in range(3)]
    expected = 0.3 * x + 0.5 * np.nanmean(window, axis=0)
    np.testing.assert_allclose(cell_output(weights, x), expected, atol=1e-5)


@pytest.mark.parametrize("side", [6, 7])
def test_a_residual_block(side):
    """Against the printed sum, by plain convolutions in NCHW."""
    block = ResidualBlock(8, STYLE)
    x = np.random.default_rng(0).normal(size=(side, 4, side, 2)).astype(np.float32)

    @jax.jit
    def run(x):
        variables = drawn(block.init(jax.random.key(1), x, True), jax.random.key(2))
        y, _ = block.apply(variables, x, True, mutable="batch_stats")
        return variables["params"], y

    params, y = map(jax.device_get, run(x))

    def conv(z, kernel, stride, pad):
        numbers = ("NCHW", "HWIO", "NCHW")
        return np.asarray(
            lax.conv_general_dilated(
                z, kernel, (stride, stride), [(pad, pad)] * 2, dimension_numbers=numbers
            )
        )

    def unit(z, name, stride):
        z = conv(np.maximum(z, 0), params[name]["Conv_0"]["kernel"], stride, 1)
        mean, var = z.mean((0, 2, 3), keepdims=True), z.var((0, 2, 3), keepdims=True)
        return (z - mean) / np.sqrt(var + 1e-5)

    z = x.transpose(3, 1, 0, 2)
    long = unit(unit(z, "ReLUConvBN_0", 2), "ReLUConvBN_1", 1)
    half = -(-side // 2)
    pooled = np.zeros((2, 4, half, half), np.float32)
    for i in range(half):
        for j in range(half):
            window = z[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
            pooled[:, :, i, j] = window.mean((2, 3))
    short = conv(pooled, params["Conv_0"]["kernel"], 1, 0)
    np.testing.assert_allclose(y.transpose(3, 1, 0, 2), long + short, atol=2e-5)


def test_discretisation_keeps_every_edge_and_may_choose_none():
    draws, harden = np.random.default_rng(0), jax.jit(lambda mix: choose(mix, SPACE))
    for seed in range(5):
        ops = draws.dirichlet(np.ones(5), 6)
        cell = discretise({"cell": Weights(ops)}, SPACE)
        chosen = [NASBENCH_201[column] for column in ops.argmax(1)]
        assert cell == cell_of(*chosen)
        hard = harden({"cell": Weights(ops.astype(np.float32))})["cell"]
        np.testing.assert_array_equal(hard.ops, one_hot(cell, SPACE)["cell"].ops)
        again = Genotype.from_json(json.loads(json.dumps(cell.to_json())))
        assert again == cell
        drawn_cell = random_genotype(seed, SPACE)
        assert [source for _, source in drawn_cell.cells["cell"]] == [0, 0, 1, 0, 1, 2]
    drawn = lambda key: draw(key, SPACE)["cell"].ops
    every = jax.jit(lambda key: jax.vmap(drawn)(jax.random.split(key, 2000)))
    every = np.asarray(every(jax.random.key(1)))
    assert (every.sum(2) == 1).all()
    np.testing.assert_allclose(every.mean(0), 0.2, atol=0.04)


def test_what_does_not_fit_is_refused():
    data = cell_of(*["none"] * 6).to_json()
    data["cells"]["cell"][2][1] = 2
    with pytest.raises(UserError, match=r"Node 2 .* reads from node 2"):
        Genotype.from_json(data)
    data["cells"]["cell"].pop()
    with pytest.raises(UserError, match="needs 6: 1, 2, 3 for its 3 nodes"):
        Genotype.from_json(data)


def test_width_and_depth_leave_out_none():
    skip, none = "skip_connect", "none"
    full = cell_of(*[skip] * 6).cells["cell"]
    assert (width(full, SPACE), depth(full, SPACE)) == (1 + 1 / 2 + 1 / 3, 3)
    cut = cell_of(skip, skip, none, skip, none, none).cells["cell"]
    assert (width(cut, SPACE), depth(cut, SPACE)) == (3, 1)
    nothing = cell_of(*[none] * 6).cells["cell"]
    assert (width(nothing, SPACE), depth(nothing, SPACE)) == (0, 0)


def test_drawings(tmp_path):
    lines = genotypes.text(cell_of(*NASBENCH_201, "skip_connect")).splitlines()
    assert lines[0] == "Cell" and lines[1].startswith("  c(k-1) ── none")
    assert lines[-1] == "  output: 3"
    genotypes.draw(cell_of(*NASBENCH_201, "skip_connect"), tmp_path / "cell.png")
    assert (tmp_path / "cell.png").stat().st_size > 5000


@pytest.mark.parametrize("cells", [1, 3, 4, 5])
def test_an_auxiliary_head_at_any_depth(cells):
    """The head takes the maps after two thirds, which a scan would skip over."""
    cell = cell_of(*["nor_conv_1x1"] * 6)
    macro = Macro.of(SPACE, 4, cells, "cifar")
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)

    def params(auxiliary):
        model = nets.genotype_network(cell, macro, 10, auxiliary, "conv")
        variables = jax.eval_shape(model.init, jax.random.key(0), image)
        return nets.parameters(variables["params"])

    plain, more = params(False), params(True)
    width = 4 * 2 ** min(cells, 2)
    head = width * 128 + 2 * 128 + 4 * 128 * 768 + 2 * 768 + 7690
    assert more - plain == head


def test_a_cell_of_its_own_at_every_place():
    own = SPACE.separate(4)
    assert own.types == ("cell_0", "cell_1", "cell_2", "cell_3")
    assert [own.role(kind) for kind in own.types] == ["normal"] * 4
    draws = np.random.default_rng(0)
    mix = {kind: Weights(draws.dirichlet(np.ones(5), 6)) for kind in own.types}
    genotype = discretise(mix, own)
    assert Genotype.from_json(json.loads(json.dumps(genotype.to_json()))) == genotype
    params = lambda g: nets.count_genotype(g, 4, 4, 10, 16)["params"]
    rest = params(cell_of(*["none"] * 6))
    widths, size = (4, 8, 16, 16), {"nor_conv_1x1": 1, "nor_conv_3x3": 9}
    expected = sum(
        (size[op] * width + 2) * width
        for width, own_cell in zip(widths, genotype.cells.values(), strict=True)
        for op, _ in own_cell
        if op in size
    )
    assert params(genotype) == rest + expected


# The other algorithms take a while to trace, on any space.
FAST = ("darts_first", "random_search", "zarts_mgs")
# Together these use every feature of a supernet: losses in both modes, derivatives of
# both orders, also in images and outputs, and candidates. The others use a toy.
ON_SUPERNETS = (
    "amended",
    "darts_first",
    "darts_first+sanas",
    "implicit",
    "sdarts_adv",
    "zarts_mgs",
)


# SANAS on second order, its default, takes a minute to trace.
SENTENCES = ["darts_first+sanas" if name == "sanas" else name for name in PARTS]


@pytest.mark.parametrize(
    "sentence",
    [
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name in SENTENCES
    ],
)
def test_every_algorithm_searches_here(sentence):
    """Traced, not compiled: shapes are kept, and the mix has the space's shapes."""
    algorithm = harness.composed(sentence, settings("nasbench201-small"))
    macro = Macro.of(SPACE, 2, 1, "cifar")
    model = None  # the toy
    if sentence in ON_SUPERNETS:
        model = nets.supernet(SPACE, macro, 3, "conv")
    training = Training(
        optimizer=lambda rate, clip=True: optim.sgd(rate, 0.9, 3e-4, 5.0 * clip),
        rate=optim.cosine(0.05, 0.005, 3, 2),
        epochs=3,
        steps_per_epoch=2,
        warmup_epochs=1,
    )
    final = Final(macro, 3, (8, 8, 3))
    search = harness.built(algorithm, SPACE, training, model, (8, 8, 3), final)
    state = jax.eval_shape(search.init, jax.random.key(0))
    batch = {
        "image": jax.ShapeDtypeStruct((4, 8, 8, 3), jnp.float32),
        "label": jax.ShapeDtypeStruct((4,), jnp.int32),
        "key": jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 4)),
    }
    count = search.direction.inner_steps
    stacked = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype), batch
    )
    shapes = functools.partial(jax.tree.map, lambda leaf: (leaf.shape, leaf.dtype))
    for own in search.programs:
        given = (stacked, batch) if own.name == "alpha" else (batch,)
        after, _ = jax.eval_shape(own.step, state, *given)
        assert shapes(after) == shapes(state)
    assert jax.eval_shape(search.mix, state)["cell"].ops.shape == (6, 5)
