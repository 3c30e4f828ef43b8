"""Rules that every method follows. METHODS lists the methods tested."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from nasjax.zeroth import gld, mgs, random_search

# name -> (method, rows that fall with row 3)
METHODS = {
    "rs": (random_search(4, 0.1, 0.5), 2),
    "rs_normal": (random_search(4, 0.1, 0.5, "normal", groups="joint"), 2),
    "rs_one_sided": (random_search(4, 0.1, 0.5, antithetic=False), 1),
    "mgs": (mgs(6, 0.1, 1.0, 0.3), 1),
    "mgs_likelihood": (mgs(6, 0.1, 1.0, weights="likelihood"), 1),
    "mgs_sum": (mgs(6, 0.1, 1.0, 0.3, proposal="sum"), 1),
    "gld": (gld(1.0, 0.1), 1),
    "gld_ball": (gld(1.0, 0.1, "ball", "joint"), 1),
}
X = {"a": np.array([[1.0, 2.0], [3.0, 4.0]]), "b": np.array([5.0, -1.0, 0.5])}

every = pytest.mark.parametrize("name", METHODS)


def loss(x):
    return sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(x))


def proposed(name, x=X, seed=0, guide=None):
    method = METHODS[name][0]
    x = jax.tree.map(jnp.asarray, x)
    state = method.init(x, jax.random.key(7))
    return method, state, x, method.propose(state, x, jax.random.key(seed), guide)


def assert_same(tree, other, **tolerance):
    close = lambda a, b: np.testing.assert_allclose(a, b, **tolerance)
    jax.tree.map(close, tree, other)


@every
def test_rows_and_metrics(name):
    method, state, x, proposal = proposed(name)
    assert {len(leaf) for leaf in jax.tree.leaves(proposal.candidates)} == {
        method.samples
    }
    losses = jax.vmap(loss)(proposal.candidates)
    new, state, metrics = method.update(state, x, proposal, losses)
    assert int(state.updates) == 1
    np.testing.assert_allclose(metrics["candidate_loss"], losses.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["candidate_spread"], losses.std(), rtol=1e-4)
    step = ravel_pytree(new)[0] - ravel_pytree(x)[0]
    np.testing.assert_allclose(
        metrics["step_norm"], jnp.linalg.norm(step), rtol=1e-3, atol=1e-6
    )
    assert int(metrics["left_out"]) == 0
    assert bool(metrics["moved"]) == bool((step != 0).any())
    extra = {"mgs": {"effective_samples"}, "gld": {"radius", "index"}}
    shared = {"candidate_loss", "candidate_spread", "left_out", "step_norm", "moved"}
    assert set(metrics) == shared | extra.get(name.split("_")[0], set())


@every
def test_a_candidate_without_a_finite_loss_is_left_out_and_never_chosen(name):
    method, state, x, proposal = proposed(name)
    losses = jax.vmap(loss)(proposal.candidates)
    ends = []
    for broken in (np.nan, np.inf, -np.inf):
        rows = jax.tree.map(lambda c: c.at[3].set(broken), proposal.candidates)
        new, _, metrics = method.update(
            state, x, proposal._replace(candidates=rows), losses.at[3].set(broken)
        )
        assert int(metrics["left_out"]) == METHODS[name][1]
        assert all(np.isfinite(value) for value in metrics.values())
        ends.append(new)
    assert np.isfinite(ravel_pytree(ends[0])[0]).all()
    assert_same(ends[0], ends[1], rtol=0)
    assert_same(ends[0], ends[2], rtol=0)


@every
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_x_stays_if_no_loss_is_finite_and_says_so(name, broken):
    method, state, x, proposal = proposed(name)
    losses = jnp.full(method.samples, broken)
    new, state, metrics = method.update(state, x, proposal, losses)
    jax.tree.map(np.testing.assert_array_equal, new, x)
    assert int(metrics["left_out"]) == method.samples
    assert int(metrics["moved"]) == 0
    assert all(np.isfinite(value) for value in metrics.values())
    assert int(state.updates) == 1


@every
def test_a_guide_is_taken_or_ignored(name):
    guide = jax.tree.map(jnp.ones_like, X)
    without, with_guide = (proposed(name, guide=g)[3].candidates for g in (None, guide))
    if name.startswith("mgs"):
        assert (without["a"] != with_guide["a"]).any()
    else:
        assert_same(without, with_guide, rtol=0)


@every
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("losses", ["float32", "float64"])
def test_x_keeps_its_dtypes(name, dtype, losses):
    """The dtypes stay even if another leaf or the losses are wider."""
    method = METHODS[name][0]
    with jax.enable_x64(True):
        x = {"a": jnp.asarray(X["a"], dtype), "b": jnp.asarray(X["b"], "float32")}

        def run(x, losses):
            state = method.init(x, None)
            proposal = method.propose(state, x, jax.random.key(0), x)
            return proposal.candidates, method.update(state, x, proposal, losses)[0]

        both = jax.eval_shape(run, x, jnp.zeros(method.samples, losses))
        for each in both:
            assert each["a"].dtype == dtype
            assert each["b"].dtype == "float32"
        assert jax.tree.map(jnp.shape, both[1]) == jax.tree.map(jnp.shape, x)


@every
def test_losses_may_be_whole_numbers_or_wider_than_x(name):
    with jax.enable_x64(True):
        x = jax.tree.map(lambda leaf: leaf.astype("float32"), X)
        method, state, x, proposal = proposed(name, x)
        losses = jnp.arange(method.samples)[::-1]
        ends = [
            method.update(state, x, proposal, losses.astype(dtype))[0]
            for dtype in ("int32", "float32", "float64")
        ]
        assert_same(ends[0], ends[1], rtol=0)
        assert_same(ends[0], ends[2], rtol=1e-5)


@every
def test_under_jit_and_vmap_it_is_the_same(name):
    method = METHODS[name][0]

    def update(x, key):
        state = method.init(x, key)
        proposal = method.propose(state, x, key, x)
        losses = jax.vmap(loss)(proposal.candidates)
        return method.update(state, x, proposal, losses)

    xs = jax.tree.map(lambda x: jnp.stack([jnp.asarray(x, "float32")] * 3), X)
    xs["b"] = xs["b"] * jnp.array([[1.0], [2.0], [3.0]])
    keys = jax.random.split(jax.random.key(0), 3)
    together = jax.jit(jax.vmap(update))(xs, keys)
    for i in range(3):
        row = lambda leaf: leaf[i]
        alone = update(jax.tree.map(row, xs), keys[i])
        assert_same(jax.tree.map(row, together), alone, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["rs", "rs_normal"])
def test_the_order_of_pairs_does_not_matter(name):
    order = np.array([2, 0, 3, 1])
    rows = np.stack([2 * order, 2 * order + 1], 1).ravel()
    method, state, x, proposal = proposed(name)
    losses = jax.vmap(loss)(proposal.candidates)
    aux = proposal.aux._replace(directions=proposal.aux.directions[order])
    moved = proposal._replace(
        candidates=jax.tree.map(lambda c: c[rows], proposal.candidates), aux=aux
    )
    ends = [
        method.update(state, x, proposal, losses),
        method.update(state, x, moved, losses[rows]),
    ]
    assert_same(*ends, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["mgs", "mgs_likelihood", "mgs_sum"])
def test_the_order_of_draws_does_not_matter(name):
    order = np.array([2, 0, 3, 1, 5, 4])
    method, state, x, proposal = proposed(name)
    losses = jax.vmap(loss)(proposal.candidates)
    moved = jax.tree.map(lambda rows: rows[order], proposal)
    ends = [
        method.update(state, x, proposal, losses),
        method.update(state, x, moved, losses[order]),
    ]
    assert_same(*ends, rtol=1e-4, atol=1e-6)


@every
def test_what_is_wrong_is_said(name):
    method, state, x, proposal = proposed(name)
    for shape in [(), (method.samples + 1,), (method.samples, 1)]:
        with pytest.raises(ValueError, match="losses has shape .*; expected"):
            method.update(state, x, proposal, jnp.zeros(shape))
    whole = {"a": jnp.zeros(2), "b": jnp.zeros(2, jnp.int32)}
    with pytest.raises(TypeError, match=r"x\['b'\] is int32; expected floating"):
        method.init(whole, None)
    with pytest.raises(TypeError, match=r"x\['b'\] is int32; expected floating"):
        method.propose(state, whole, jax.random.key(0))


@pytest.mark.parametrize(
    "guide", [{"a": jnp.zeros((2, 2))}, {"a": X["b"], "b": X["a"]}]
)
def test_a_guide_unlike_x_is_refused(guide):
    with pytest.raises(ValueError, match=r"guide.* has .*; expected .* x"):
        proposed("mgs", guide=guide)
