import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.nets import genotype_network, supernet
from nasjax.nets.cells import FixedCell, MixedCell, runs
from nasjax.nets.edges import Mixed
from nasjax.nets.heads import AuxiliaryHead, auxiliary_bins
from nasjax.nets.layers import BatchNorm, Conv, FactorizedReduce, ReLUConvBN, Style
from nasjax.nets.lowering import to_map
from nasjax.nets.network import Cell, Network
from nasjax.nets.operations import NO_DRAWS, OPERATIONS, Draws
from nasjax.spaces import DARTS_8, SPACES, CellPlan, Macro, darts
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.mix import Weights
from nasjax.spaces.published import PUBLISHED

SEARCH, FIXED = Style(True, "shift", pool_norm=True), Style(False, "shift")
KEY = jax.random.key(0)
NORMAL = (
    ("dil_conv_3x3", 0), ("skip_connect", 1),
    ("avg_pool_3x3", 0), ("max_pool_3x3", 2),
    ("skip_connect", 0), ("skip_connect", 3),
    ("avg_pool_3x3", 4), ("skip_connect", 2),
)  # fmt: skip
REDUCE = (("max_pool_3x3", 0), ("skip_connect", 1)) + (("avg_pool_3x3", 0),) * 6
LIGHT = Genotype("darts", {"normal": NORMAL, "reduce": REDUCE}, (2, 3, 4, 5))


class OneReduction(Macro):
    """Two equal normal cells, which are scanned, then a reduction, then a normal cell."""

    reductions = (2,)


MACRO = OneReduction(2, 4, stem_channels=8)
SOME = darts(("none", "max_pool_3x3", "skip_connect", "dil_conv_3x3"))


def close(found, expected, atol=2e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=atol),
        found,
        expected,
    )


def drawn(init, *arguments):
    """Random variables, whose scales and statistics are not 1 and 0."""
    draws = np.random.default_rng(0)

    def draw(leaf):
        signs = 1 if len(leaf.shape) < 3 else draws.choice([-1, 1], leaf.shape)
        return (draws.uniform(0.2, 1.2, leaf.shape) * signs).astype(leaf.dtype)

    return jax.tree.map(draw, jax.eval_shape(init, KEY, *arguments))


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("size", "stem"),
    [
        *(((rows, columns), "cifar") for rows, columns in ((8, 25), (30, 28), (9, 6))),
        ((50, 50), "imagenet"),
    ],
)
def test_grey_images_of_any_size(size, stem):
    """1 channel, 3 classes; other networks of the same macro differ within the cells.

    Rows and columns are halved twice, the same way: even and even (8, 28), odd and odd
    (25, 9), even and odd (30, 6).
    """
    images = jax.ShapeDtypeStruct((2, *size, 1), jnp.float32)
    mix = {kind: Weights(jnp.zeros((14, 4))) for kind in ("normal", "reduce")}
    for model in (
        supernet(SOME, Macro(4, 3, stem), 3),
        genotype_network(PUBLISHED["gdas_v1"], Macro(4, 3, stem), 3, auxiliary=True),
    ):
        variables = jax.eval_shape(model.init, KEY, images)
        for train in (True, False):
            out, stats = jax.eval_shape(
                lambda v, x: model.apply(v, mix, x, train=train), variables, images
            )
            assert out.logits.shape == (2, 3) and out.logits.dtype == jnp.float32
            assert (out.auxiliary is not None) == (model.auxiliary and train)
            if out.auxiliary is not None:
                assert out.auxiliary.shape == (2, 3)
            assert jax.tree.structure(stats) == jax.tree.structure(
                variables["batch_stats"]
            )


@pytest.mark.parametrize(
    ("side", "bins"),
    [
        (8, ((0, 5), (3, 8))),  # kernel 5, stride 3
        (7, ((0, 5), (2, 7))),  # kernel 5, stride 2
        (2, ((0, 1), (1, 2))),
        (3, ((0, 2), (1, 3))),
        (4, ((0, 2), (2, 4))),
        (5, ((0, 3), (2, 5))),
        (6, ((0, 3), (3, 6))),
        (13, ((0, 7), (6, 13))),
        (1, None),
    ],
)
def test_auxiliary_bins(side, bins):
    """Other sides have PyTorch's adaptive bins: floor(i n / 2) to ceil((i + 1) n / 2)."""
    assert auxiliary_bins(side) == bins


def test_auxiliary_head_by_hand():
    """With kernels that only copy, the four logits are the four means."""
    x = np.random.default_rng(0).uniform(size=(2, 8, 7, 1)).astype(np.float32)
    head = AuxiliaryHead(4, "imagenet", FIXED)
    ones, zeros = np.ones(128, np.float32), np.zeros(128, np.float32)
    stats = {"BatchNorm_0": {"mean": zeros, "var": ones}}
    corner = np.zeros((2, 2, 128, 768), np.float32)
    for i, j in np.ndindex(2, 2):
        corner[i, j, 0, 2 * i + j] = 1
    params = {
        "Conv_0": {"kernel": jnp.ones((1, 1, 1, 128))},
        "BatchNorm_0": {"scale": ones, "bias": zeros},
        "Conv_1": {"kernel": corner},
        "Linear_0": {"kernel": jnp.eye(768, 4), "bias": jnp.arange(4.0)},
    }
    apply = jax.jit(lambda variables, x: head.apply(variables, to_map(x), False))
    logits = apply({"params": params, "batch_stats": stats}, x)
    means = [
        x[:, rows, columns, 0].mean((1, 2)) / np.sqrt(1 + 1e-5)
        for rows in (slice(0, 5), slice(3, 8))
        for columns in (slice(0, 5), slice(2, 7))
    ]
    close(logits, np.stack(means, 1) + np.arange(4))


@pytest.fixture(scope="module")
def light():
    """(evaluate, variables, images [4, 8, 8, 1])."""
    model = genotype_network(LIGHT, MACRO, 3, spelling="shift")
    images = normal(4, 8, 8, 1)
    evaluate = jax.jit(lambda v, x: model.apply(v, {}, x, train=False))
    return evaluate, drawn(model.init, images), images


def test_scanned_cells_are_the_cells_one_by_one(light):
    """Logits, statistics and drop path agree in training mode."""
    _, variables, images = light

    def cell(made, style, name=None):
        return FixedCell(made.body, SPACES["darts"], made.plan, style, name=name)

    cells = [Cell(p, p.type, LIGHT.cells[p.type], None) for p in MACRO.plan()]
    network = Network(MACRO, 3, tuple(cells), cell, FIXED, False)
    paths = np.random.default_rng(1).uniform(size=(4, 8, 4)).astype(np.float32)
    run = jax.jit(
        lambda v: network.apply(
            v, {}, images, Draws(paths), True, mutable=["batch_stats"]
        )
    )
    out, after = run(variables)
    assert same_bits(run(variables), (out, after))

    names = [("cells_0_1", 0), ("cells_0_1", 1)] + [
        (f"cell_{i}", ...) for i in range(2, 4)
    ]
    assert {name for name, _ in names} == {
        n for n in variables["params"] if "cell" in n
    }

    def call(module, name, index, *inputs):
        mine = {kind: jax.tree.map(lambda x: x[index], variables[kind][name])
                for kind in variables if name in variables[kind]}  # fmt: skip
        return jax.jit(
            lambda v: module.apply(v, *inputs, True, mutable=["batch_stats"])
        )(mine)

    stem = jax.jit(lambda w: Conv(8, FIXED, 3, 1, 1).apply(w, to_map(images)))
    x = stem({"params": variables["params"]["stem_conv"]})
    s0 = s1 = call(BatchNorm(FIXED, affine=True), "stem_bn", ..., x)[0]
    for index, (made, where) in enumerate(zip(cells, names, strict=True)):
        y, stats = call(
            cell(made, FIXED), *where, s0, s1, None, None, Draws(paths[index])
        )
        s0, s1 = s1, y
        name, row = where
        mine = jax.tree.map(lambda x: x[row], after["batch_stats"][name])
        close(mine, stats["batch_stats"])
    linear = variables["params"]["classifier"]
    features = np.asarray(s1).mean((0, 2)).T
    close(out.logits, features @ linear["kernel"] + linear["bias"][None])


def same_bits(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, a, b))


def test_evaluation_is_a_pure_function_of_each_example(light):
    evaluate, variables, images = light
    copy = jax.tree.map(np.array, variables)
    out, stats = evaluate(variables, images)
    assert same_bits(evaluate(variables, images), (out, stats))
    assert same_bits(stats, variables["batch_stats"])
    assert same_bits(variables, copy)
    times = np.float32([1, 3, 3, 3])[:, None, None, None]
    others = evaluate(variables, images * times)[0].logits
    close(others[0], out.logits[0])
    assert not np.allclose(others[1], out.logits[1])


def test_both_spellings_are_the_same_network(light):
    evaluate, variables, images = light
    other = genotype_network(LIGHT, MACRO, 3, spelling="conv")
    found = jax.jit(lambda v, x: other.apply(v, {}, x, train=False))(variables, images)
    close(found, evaluate(variables, images))


@pytest.mark.parametrize("stride", [1, 2])
def test_a_one_hot_mix_is_that_operation(stride):
    edge = Mixed(DARTS_8, 2, stride, SEARCH)
    x = normal(5, 2, 4, 2)
    weights = Weights(np.zeros(8, np.float32))
    variables = drawn(lambda *a: edge.init(*a, False), x, weights)

    @jax.jit
    def alone(variables):
        seen, outputs = {}, []
        for name in DARTS_8:
            operation = OPERATIONS[name](2, stride, SEARCH)
            kind = type(operation).__name__
            mine = f"{kind}_{seen.get(kind, 0)}"
            seen[kind] = seen.get(kind, 0) + 1
            mine = {k: v[mine] for k, v in variables.items() if mine in v}
            outputs.append(operation.apply(mine, x, False))
        return jnp.stack(outputs)

    one = lambda v, ops: edge.apply(v, x, Weights(ops), False)
    mixed = jax.jit(jax.vmap(one, (None, 0)))
    soft = np.exp(np.arange(8.0)) / np.exp(np.arange(8.0)).sum()
    found = mixed(variables, np.stack([*np.eye(8), soft]).astype(np.float32))
    found, expected = map(np.asarray, (found, alone(variables)))
    close(found[:8], expected)
    close(found[8], np.einsum("o,ohcwb->hcwb", soft, expected))


def test_none_alone():
    edge = Mixed(("none",), 2, 2, SEARCH)
    y = edge.apply({}, jnp.ones((5, 2, 4, 1)), Weights(jnp.ones(1)), True)
    assert y.shape == (3, 2, 2, 1) and not y.any()


@pytest.mark.parametrize("kind", ["normal", "reduce"])
@pytest.mark.parametrize("space", [SOME, SPACES["s1"]], ids=["uniform", "lists"])
def test_scanned_edges_are_the_edges_one_by_one(space, kind):
    """A node is the sum of its edges' outputs, also after a reduction and on odd maps."""
    passes = runs(space, kind, kind == "reduce")
    cell = MixedCell(space, CellPlan(kind, 2, (2, 1), (3, 5)), passes, SEARCH)
    s0, s1 = normal(9, 3, 9, 3), normal(5, 5, 5, 3, seed=1)
    draws = np.random.default_rng(2)
    ops = draws.uniform(size=space.alpha_shape(kind)).astype(np.float32)
    weights = Weights(ops)
    paths = draws.uniform(size=(14, 3)).astype(np.float32)
    rows = np.array(space.edges, np.int32)
    variables = drawn(lambda *a: cell.init(*a, NO_DRAWS, True), s0, s1, weights, rows)
    train = {"mutable": ["batch_stats"]}
    inputs = s0, s1, weights, rows, Draws(paths)
    run = jax.jit(lambda v: cell.apply(v, *inputs, True, **train)[0])

    def part(name, row=...):
        take = lambda tree: jax.tree.map(lambda x: x[row], tree)
        return {k: take(tree[name]) for k, tree in variables.items() if name in tree}

    @functools.cache
    def edge(names, stride):
        module = Mixed(names, 2, stride, SEARCH)
        return jax.jit(lambda v, x, w: module.apply(v, x, w, True, **train)[0])

    @jax.jit
    def before(*own):
        layers = (FactorizedReduce, s0), (ReLUConvBN, s1)
        return [
            layer(2, SEARCH).apply(each, s, True, **train)[0]
            for each, (layer, s) in zip(own, layers, strict=True)
        ]

    nodes = [*before(part("preprocess_0"), part("preprocess_1")), 0, 0, 0, 0]
    where = {row: (p.name, i) for p in passes for i, row in enumerate(p.rows)}
    assert sorted(where) == list(range(14))
    for index, (source, target) in enumerate(space.edges):
        stride = 2 if kind == "reduce" and source < 2 else 1
        one = edge(space.operations(kind, (source, target)), stride)
        name, row = where[index]
        mine = part(name, row)
        y = np.asarray(one(mine, nodes[source], Weights(ops[index])))
        nodes[target] = nodes[target] + y * paths[index][None, None, None]
    side = 3 if kind == "reduce" else 5
    expected = np.concatenate(nodes[2:], 1)
    assert expected.shape == (side, 8, side, 3)
    close(run(variables), expected)


@pytest.fixture(scope="module")
def pools():
    """(apply, B) of a network whose logits are affine in the drop path's factors.

    The network is one cell of pools of its inputs, without batch norm after the pools.
    `apply` takes keys [B] and a probability, or no keys.
    """
    pairs = (("avg_pool_3x3", 0), ("max_pool_3x3", 1)) * 4
    genotype = Genotype("darts", {"normal": pairs, "reduce": pairs}, (2, 3, 4, 5))
    model = genotype_network(genotype, Macro(2, 1), 3, spelling="shift")
    images = normal(3, 4, 4, 1)
    variables = drawn(model.init, images)

    def apply(variables, key, rate):
        out, _ = model.apply(variables, {}, images, train=True, key=key, drop_path=rate)
        return out.logits

    jitted = jax.jit(apply)
    return lambda key, rate: jitted(variables, key, rate)


def test_drop_path_keeps_the_expectation(pools):
    plain = pools(None, 0.3)
    keys = jax.random.split(KEY, (2000, 3))
    samples = np.asarray(jax.vmap(lambda key: pools(key, 0.3))(keys))
    error = samples.std(0) / 2000**0.5
    assert (error > 0).all()
    assert (np.abs(samples.mean(0) - plain) < 5 * error).all()


def test_drop_path_follows_the_key_of_each_example(pools):
    keys = jax.random.split(KEY, 3)
    first = pools(keys, 0.5)
    assert (pools(keys, 0.5) == first).all()
    others = pools(keys.at[1:].set(jax.random.split(jax.random.key(7), 2)), 0.5)
    assert (others[0] == first[0]).all()
    assert (others[1:] != first[1:]).any(1).all()
    assert (pools(keys, 0.0) == pools(keys[::-1], 0.0)).all()
    close(pools(keys, 0.0), pools(None, 0.0))


def test_drop_path_spares_the_identity():
    """Drop path applies to strided skip connections, but not to identities."""
    pairs = (("skip_connect", 0), ("skip_connect", 1)) * 4
    s0 = normal(4, 8, 4, 2)
    for kind, kept in (("normal", True), ("reduce", False)):
        plan = CellPlan(kind, 2, (1, 1), (8, 8))
        cell = FixedCell(pairs, SPACES["darts"], plan, FIXED)
        variables = drawn(
            lambda key, x: cell.init(key, x, x, None, None, NO_DRAWS, True), s0
        )
        apply = jax.jit(lambda v, p: cell.apply(v, s0, s0, None, None, Draws(p), False))
        whole, dropped = (
            apply(variables, jnp.full((8, 2), keep)) for keep in (1.0, 0.0)
        )
        assert whole.any() and dropped.any() == kept
        assert not kept or (whole == dropped).all()


def test_wrong_shapes_are_said_where_they_are_given():
    model = supernet(SPACES["nasbench201"], Macro(2, 3, reduction="block"), 3)
    mix = {"cell": Weights(jnp.ones((6, 4)))}
    with pytest.raises(AssertionError, match=r"\(6, 4\)"):
        model.apply({}, mix, jnp.ones((1, 8, 8, 3)), train=False)
    with pytest.raises(AssertionError, match="rank"):
        model.apply({}, mix, jnp.ones((8, 8, 3)), train=False)
