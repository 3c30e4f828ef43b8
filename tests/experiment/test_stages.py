"""Fixed edges, edges searched in a first stage, and a separate alpha for every cell."""

import itertools
import json
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from support.tiny import shrink

from nasjax import nets
from nasjax.core.errors import UserError
from nasjax.experiment import build
from nasjax.monitors.alpha import mixing
from nasjax.nets.operations import is_parametric
from nasjax.search import relax
from nasjax.search.base import Algorithm, Stage
from nasjax.search.stages import with_edges
from nasjax.spaces import AMENDED_S2, DARTS_8, Macro, darts
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.mix import Weights
from nasjax.spaces.rules import discretise, random_genotype
from nasjax.tasks.base import At

SPACE = darts(("skip_connect", "dil_conv_3x3"))
KEY = jax.random.key(0)


def run(space, macro, variables, mix, images):
    model = nets.supernet(space, macro, 3, "shift")
    apply = jax.jit(lambda v, m: model.apply(v, m, images, train=True)[0].logits)
    return apply(variables, mix)


def weights_of(ops, kinds):
    return {kind: Weights(ops) for kind in kinds}


def test_eq_16_by_brute_force():
    """y_j = sum over pairs of softmax(beta) (y_i1 + y_i2) with y_i = sum_o p_o o(x_i)."""
    paired = relax.paired(SPACE, 1.0)
    arch = paired.init(KEY)
    assert {k: v.shape for k, v in arch.items()} == {
        "normal": (14, 2), "reduce": (14, 2), "normal_pairs": (20,), "reduce_pairs": (20,),
    }  # fmt: skip
    mix = paired.mix(arch, At())
    brought = np.random.default_rng(0).normal(size=(14, 2))  # o(x_i) on every edge
    for kind in SPACE.types:
        y = (jax.nn.softmax(arch[kind]) * brought).sum(1)
        first = 0
        for node in range(2, 6):
            sources = list(itertools.combinations(range(node), 2))
            beta = arch[f"{kind}_pairs"][first : first + len(sources)]
            first += len(sources)
            share = np.exp(beta) / np.exp(beta).sum()
            edge = lambda s, node=node: y[SPACE.edges.index((s, node))]
            expected = sum(
                p * (edge(a) + edge(b))
                for p, (a, b) in zip(share, sources, strict=True)
            )
            rows = [e for e, (_, t) in enumerate(SPACE.edges) if t == node]
            own = mix[kind].ops * mix[kind].edges[:, None]
            found = (own[jnp.array(rows)] * brought[rows]).sum()
            np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_strongest_pair_of_every_node_is_kept():
    arch = {f"{kind}_pairs": np.zeros(20) for kind in SPACE.types}
    # Pairs of node 2: 01; of 3: 01 02 12; of 4: 01 02 03 12 13 23; of 5: 01 02 ... 34.
    arch["normal_pairs"][[2, 7, 19]] = 1.0
    kept = relax.strongest_pairs(arch, SPACE)
    assert kept["normal"] == [
        (0, 2), (1, 2), (0, 3), (2, 3), (1, 4), (2, 4), (3, 5), (4, 5),
    ]  # fmt: skip
    assert kept["reduce"][2:4] == [(0, 3), (1, 3)]  # a tie goes to the first pair
    space = SPACE.keep(kept)
    assert space.edges_of("normal")[-2:] == ((3, 5), (4, 5))
    assert space.alpha_shape("normal") == (8, 2)


def test_fixed_edges_are_those_of_the_paper():
    expected = ((0, 2), (1, 2), (0, 3), (2, 3), (0, 4), (3, 4), (0, 5), (4, 5))
    fixed = SPACE.fixed()
    assert all(fixed.edges_of(kind) == expected for kind in fixed.types)


@pytest.mark.slow
@pytest.mark.parametrize("separate", [False, True])
def test_fewer_edges_are_the_full_supernet_with_the_others_at_zero(separate):
    """The logits are equal if the kept edges have the same weights."""
    macro = Macro(2, 4)
    full = SPACE.separate(4) if separate else SPACE
    draws = np.random.default_rng(0)
    kept = {}
    for kind in full.types:
        nodes = [[e for e in full.edges if e[1] == node] for node in full.concat]
        pick = lambda edges: [
            edges[i] for i in sorted(draws.permutation(len(edges))[:2])
        ]
        kept[kind] = [edge for edges in nodes for edge in pick(edges)]
    few = full.keep(kept)
    images = jax.random.normal(KEY, (3, 8, 8, 1))
    variables = jax.jit(nets.supernet(full, macro, 3, "shift").init)(KEY, images)
    mix = weights_of(jax.random.uniform(KEY, (14, 2)), full.types)
    rows = {k: np.array([full.edges.index(e) for e in few.edges_of(k)]) for k in kept}

    def only(kind, tree, cell):
        """The rows of a cell's parameters for the kept edges."""
        chosen, out = rows[kind], dict(tree)
        late = np.array([s >= 2 for s, _ in full.edges])
        reduce = "strided" in tree
        for name in {"edges", "strided"} & set(tree):
            group = (late if name == "edges" else ~late) if reduce else late | True
            place = np.cumsum(group) - 1
            mine = place[[r for r in chosen if group[r]]]
            out[name] = jax.tree.map(lambda leaf, m=mine: cell(leaf, m), tree[name])
        return out

    names = [name for name in variables["params"] if name.startswith("cell")]
    smaller = {c: dict(tree) for c, tree in variables.items()}
    for collection, tree in smaller.items():
        for name in names:
            if name not in tree:
                continue
            first, *last = map(int, name.split("_")[1:])
            kinds = [
                full.kind(i, macro.plan()[i].type)
                for i in range(first, (last or [first])[0] + 1)
            ]
            if len(kinds) == 1:
                tree[name] = only(kinds[0], tree[name], lambda leaf, m: leaf[m])
                continue
            each = [
                only(
                    kind,
                    jax.tree.map(lambda leaf, i=i: leaf[i], tree[name]),
                    lambda leaf, m: leaf[m],
                )
                for i, kind in enumerate(kinds)
            ]
            tree[name] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
        smaller[collection] = tree
    masked = {
        kind: Weights(own.ops * np.isin(np.arange(14), rows[kind])[:, None])
        for kind, own in mix.items()
    }
    expected = run(full, macro, variables, masked, images)
    found = run(
        few, macro, smaller, {k: Weights(mix[k].ops[rows[k]]) for k in mix}, images
    )
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)
    plain = run(full, macro, variables, mix, images)
    assert np.abs(plain - expected).max() > 1e-2


@pytest.mark.slow
def test_an_alpha_of_its_own_for_every_cell():
    """Equal alphas give the shared supernet; their gradients add up to its gradient."""
    macro, own = Macro(2, 6), SPACE.separate(6)
    images = jax.random.normal(KEY, (3, 8, 8, 1))
    shared = nets.supernet(SPACE, macro, 3, "shift")
    separate = nets.supernet(own, macro, 3, "shift")
    variables = jax.jit(shared.init)(KEY, images)
    alike = jax.eval_shape(separate.init, KEY, images)
    assert jax.tree.structure(variables) == jax.tree.structure(alike)
    mix = weights_of(jax.random.uniform(KEY, (14, 2)), SPACE.types)
    roles = [plan.type for plan in macro.plan()]
    spread = {f"cell_{i}": mix[role] for i, role in enumerate(roles)}

    def slope(model, mix):
        loss = lambda m: model.apply(variables, m, images, train=True)[0].logits[:, 0]
        return jax.jit(jax.value_and_grad(lambda m: loss(m).sum()))(mix)

    (value, g), (other, each) = slope(shared, mix), slope(separate, spread)
    np.testing.assert_allclose(other, value, rtol=1e-5)
    for kind in SPACE.types:
        own = [each[f"cell_{i}"].ops for i, role in enumerate(roles) if role == kind]
        np.testing.assert_allclose(sum(own), g[kind].ops, rtol=1e-3, atol=1e-4)


def test_genotypes_of_such_spaces():
    space = darts(AMENDED_S2).separate(20).fixed()
    mix = weights_of(np.random.default_rng(0).random((8, 2)), space.types)
    genotype = discretise(mix, space)
    assert len(genotype.cells) == 20
    for kind, pairs in genotype.cells.items():
        reads = [(s, 2 + i // 2) for i, (_, s) in enumerate(pairs)]
        assert sorted(reads) == sorted(space.edges_of(kind))
    again = Genotype.from_json(genotype.to_json())
    assert again == genotype
    images = jnp.zeros((1, 8, 8, 1))
    model = nets.genotype_network(genotype, Macro(2, 20), 3)
    assert jax.eval_shape(model.init, KEY, images)["params"]
    with pytest.raises(UserError, match="each of 20 cells, but .* would have 8"):
        nets.genotype_network(genotype, Macro(2, 8), 3)
    drawn = random_genotype(0, space)
    assert all(s in (0, 1 + i // 2) for i, (_, s) in enumerate(drawn.cells["cell_7"]))


def test_stages_hand_on_what_they_found():
    """The second stage searches operators on the found edges, with a new alpha."""
    config = runpy.run_path(str(ROOT / "configs" / "amended.py"))["get_config"]()
    config = shrink(config)
    config.space.edges = "searched"
    made = build.build(config)
    first, second = made.algorithm.stages
    assert [(s.name, s.outcome) for s in (first, second)] == [
        ("edges", "edges"), ("search", "genotype"),
    ]  # fmt: skip
    search = made.begin(first, None)
    state = jax.jit(search.init)(KEY)
    arch = state.arch
    assert set(arch) == {"normal", "reduce", "normal_pairs", "reduce_pairs"}
    arch["normal_pairs"] = arch["normal_pairs"].at[2].set(9.0)  # of node 3: 0 and 2
    kept = made.outcome(first, search, state)
    assert kept["normal"][2:4] == [[0, 3], [2, 3]]
    search = made.begin(second, json.loads(json.dumps(kept)))
    space = search.problem.space
    assert space.edges_of("normal")[2:4] == ((0, 3), (2, 3))
    state = jax.jit(search.init)(KEY)
    assert {kind: alpha.shape for kind, alpha in state.arch.items()} == {
        "normal": (8, 2), "reduce": (8, 2),
    }  # fmt: skip
    found = Genotype.from_json(made.outcome(second, search, state))
    reads = {(s, 2 + i // 2) for i, (_, s) in enumerate(found.cells["normal"])}
    assert reads == set(space.edges_of("normal"))
    for edges in ("pruned", "fixed"):
        config.space.edges = edges
        own = build.build(config)
        (only,) = own.algorithm.stages
        count = 14 if edges == "pruned" else 8
        found = own.begin(only, None).problem.space
        assert found.alpha_shape("reduce") == (count, 2)


@pytest.mark.parametrize("name", ["zarts_rs", "random_search"])
def test_edges_are_searched_first_by_softmax_alone(name):
    """A relaxation other than softmax has no weights of pairs."""
    config = shrink(runpy.run_path(str(ROOT / f"configs/{name}.py"))["get_config"]())
    config.space.edges = "searched"
    if name == "zarts_rs":
        assert len(build.build(config).algorithm.stages) == 2
    else:
        with pytest.raises(UserError, match="a relaxation other than softmax"):
            build.build(config)


def test_stages_of_ones_own_are_not_staged_again():
    algorithm = Algorithm(direction=None, stages=(Stage(), Stage()))
    assert with_edges(algorithm, "pruned") is algorithm
    for edges in ("fixed", "searched"):
        with pytest.raises(UserError, match="already has several stages"):
            with_edges(algorithm, edges)


def staged(monkeypatch, algorithm="darts_first", channels=8, **supernet):
    """An experiment whose one stage changes the supernet's numbers."""
    config = shrink(
        runpy.run_path(str(ROOT / "configs/darts_first.py"))["get_config"]()
    )
    config.algorithm, config.search.channels = algorithm, channels
    plain = build._algorithm(build.validate.config(config))
    stage = Stage(supernet=supernet)
    monkeypatch.setattr(
        build, "_algorithm", lambda config: plain._replace(stages=(stage,))
    )
    return build.build(config), stage


def test_a_stage_changes_the_numbers_of_its_supernet(monkeypatch):
    made, stage = staged(monkeypatch, cells=2, channels=6, epochs=5, warmup_epochs=2)
    search = made.begin(stage, None)
    assert made.hyper(stage).epochs == search.problem.training.epochs == 5
    assert search.problem.training.warmup_epochs == 2
    w = jax.eval_shape(search.init, KEY).w
    own = made.domain.staged(stage.supernet).macro(made.space)
    assert (own.cells, own.channels) == (2, 6)
    plain = jax.eval_shape(made.begin(Stage(), None).init, KEY).w
    assert jax.tree.map(jnp.shape, w) != jax.tree.map(jnp.shape, plain)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"chanels": 4}, "did you mean 'channels'"),
        ({"batch": 100_000}, "A batch of 100000 is larger than"),
        ({"warmup_epochs": 99}, "Alpha would never move"),
        ({"algorithm": "pc_darts", "channels": 6}, "set --config.search.channels to a"),
    ],
)
def test_what_a_stage_cannot_be_is_refused_before_anything_is_written(
    monkeypatch, fields, words
):
    with pytest.raises(UserError, match=words):
        staged(monkeypatch, **fields)


def test_collapse_indicators():
    """`none` has weight 1/2, skips the rest; the normal cell has one convolution."""
    space = darts()
    weights = np.zeros((14, 8))
    weights[:, DARTS_8.index("none")] = 0.5
    weights[:, DARTS_8.index("skip_connect")] = 0.5
    normal = weights.copy()
    normal[0] = np.eye(8)[DARTS_8.index("sep_conv_3x3")]
    mix = {"normal": Weights(normal), "reduce": Weights(weights)}
    signals = mixing(mix, discretise(mix, space), space)
    assert signals["kept_skips_normal"] == 7 / 8 and signals["kept_skips_reduce"] == 1
    free = signals["parameter_free_normal"], signals["parameter_free_reduce"]
    assert free == (0.875, 1)
    np.testing.assert_allclose(signals["none_normal"], 0.5 * 13 / 14, atol=1e-4)
    own = {f"cell_{i}": mix["reduce"] for i in range(3)} | {"cell_3": mix["normal"]}
    means = mixing(own, discretise(own, four := space.separate(4)), four)
    names = "entropy skip none kept_skips parameter_free width depth"
    assert set(means) == {f"{name}_cells" for name in names.split()}
    np.testing.assert_allclose(means["kept_skips_cells"], (3 + 7 / 8) / 4, atol=1e-4)
    assert means["parameter_free_cells"] == 0.9688


def test_what_has_parameters():
    assert [name for name in DARTS_8 if is_parametric(name)] == list(DARTS_8[4:])
