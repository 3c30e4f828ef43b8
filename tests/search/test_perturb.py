"""Perturbations against closed forms and a NumPy version of the algorithm, in float64."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nasjax.search import perturb

pytestmark = pytest.mark.usefixtures("float64", "strict_dtypes")

SIGMAS = 5
EPS = 0.3
KEY = jax.random.key(3)
DRAWS = np.random.default_rng(0)
SIMPLEX = {
    "normal": DRAWS.dirichlet(np.ones(4), 3),
    "reduce": DRAWS.dirichlet(0.3 * np.ones(4), 2),
}


def flat(mix):
    leaves = jax.tree.leaves(mix)
    return jnp.concatenate([jnp.reshape(m, (-1,)) for m in leaves])


N = flat(SIMPLEX).size
G = DRAWS.normal(size=N)
H = (lambda a: a + a.T)(DRAWS.normal(size=(N, N)))


def linear(mix):
    return G @ flat(mix)


def quadratic(mix):
    x = flat(mix)
    return 0.1 * (G @ x) + x @ (H + 3 * np.eye(N)) @ x / 2


TRACE = np.trace(H) + 3 * N


def squares(mix):
    return jnp.square(flat(mix)).sum()


def wavy(mix, phase=0.0):
    """A loss that is neither concave nor convex on the scale of EPS."""
    x = flat(mix)
    return jnp.sin(9 * (G * x).sum() + phase) + jnp.cos(13 * x + phase).sum()


@functools.cache
def compiled(perturbation, loss):
    return jax.jit(lambda mix, key, eps: perturbation(loss, mix, key, eps))


def run(perturbation, loss, mix=SIMPLEX, key=KEY, eps=EPS):
    return compiled(perturbation, loss)(mix, key, eps)


def delta(found, mix=SIMPLEX):
    return np.asarray(flat(found) - flat(mix))


def on_simplex(mix):
    for m in jax.tree.leaves(mix):
        assert (m >= 0).all()
        np.testing.assert_allclose(m.sum(-1), 1, rtol=1e-12)


# Eq. 6.


def test_mean_loss_of_a_quadratic_is_exact_by_second_moments():
    """The 2^d points +-eps / sqrt(3) have the first and second moments of the draws."""
    signs = np.array(list(itertools.product([-1, 1], repeat=4)))
    x, h, g = DRAWS.normal(size=4), H[:4, :4], G[:4]
    loss = lambda x: x @ g + np.einsum("...i,ij,...j->...", x, h, x) / 2
    mean = loss(x + EPS / 3**0.5 * signs).mean()
    np.testing.assert_allclose(mean, loss(x) + EPS**2 / 6 * np.trace(h), rtol=1e-12)


@pytest.mark.parametrize("kind", [perturb.uniform, perturb.gaussian])
def test_mean_loss_of_a_quadratic_by_monte_carlo(kind):
    keys = jax.random.split(jax.random.key(1), 40_000)
    draw = lambda key: kind(project=None)(None, SIMPLEX, key, EPS)
    found = jax.jit(jax.vmap(lambda key: (quadratic(draw(key)), flat(draw(key)))))
    losses, points = map(np.asarray, found(keys))
    error = losses.std() / len(keys) ** 0.5
    gain = EPS**2 / 6 * TRACE
    assert abs(losses.mean() - quadratic(SIMPLEX) - gain) < SIGMAS * error
    assert gain > 10 * SIGMAS * error, "the test is vacuous"
    # Independent entries of variance eps^2 / 3; the standard error of a mean product of
    # two entries is at most eps^2 / 3 sqrt(2 / n).
    drawn = points - np.asarray(flat(SIMPLEX))[None]
    slack = SIGMAS * EPS**2 / 3 * (2 / len(keys)) ** 0.5
    assert abs(drawn.T @ drawn / len(keys) - EPS**2 / 3 * np.eye(N)).max() < slack
    bounded = abs(drawn).max() <= EPS + 1e-15
    assert bounded == (kind is perturb.uniform)


# Eq. 4 without the simplex.


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_sign_steps_walk_to_the_corner_of_the_box_from_any_start(steps):
    """Along every axis each step adds 2 eps / 7, up to eps; 7 steps always suffice."""
    keys = jax.random.split(KEY, 50)
    attack = perturb.pgd(steps, 2 / 7, project=None, revert=False)

    def towards_it(kind):
        each = jax.vmap(lambda key: flat(kind(linear, SIMPLEX, key, EPS)))
        return (jax.jit(each)(keys) - flat(SIMPLEX)[None]) * np.sign(G)[None]

    start = towards_it(perturb.uniform(project=None))
    expected = np.minimum(start + steps * 2 / 7 * EPS, EPS)
    moved = towards_it(attack)
    np.testing.assert_allclose(moved, expected, atol=1e-14)
    corner = np.allclose(moved, EPS, rtol=0, atol=1e-14)
    assert corner == (steps == 7)


def test_the_default_step_size_reaches_every_corner():
    for steps in (1, 2, 7):
        found = run(perturb.pgd(steps, project=None), linear)
        np.testing.assert_allclose(delta(found), EPS * np.sign(G), atol=1e-14)


@pytest.mark.parametrize("steepest", [True, False])
def test_in_the_l2_ball_a_linear_loss_is_largest_along_its_gradient(steepest):
    attack = perturb.pgd(
        steps=7, norm="l2", steepest=steepest, random_start=False, project=None
    )
    np.testing.assert_allclose(
        delta(run(attack, linear)), EPS * G / np.linalg.norm(G), rtol=1e-12
    )


def test_a_raw_step_is_the_printed_one():
    attack = perturb.pgd(
        1, 0.01, steepest=False, random_start=False, project=None, revert=False
    )
    np.testing.assert_allclose(delta(run(attack, linear)), 0.01 * EPS * G, rtol=1e-9)


def test_in_the_l2_ball_a_minimum_costs_half_eps_squared_times_the_norm():
    """Eq. 8. In the box the bound contains the dimension n: n eps^2 / 2 |H|."""
    psd = H @ H / N
    centred = lambda mix: (lambda x: x @ psd @ x / 2)(flat(mix) - flat(SIMPLEX))
    largest = np.linalg.eigvalsh(psd)[-1]
    attack = perturb.pgd(1000, 10.0, norm="l2", steepest=False, project=None)
    worst = centred(run(attack, centred))
    np.testing.assert_allclose(worst, EPS**2 / 2 * largest, rtol=1e-6)
    in_box = centred(run(perturb.pgd(project=None), centred))
    assert worst < in_box <= N * EPS**2 / 2 * largest


def test_the_l2_ball_holds_the_whole_of_mix():
    attack = perturb.pgd(norm="l2", steps=1, step_size=1e-6, project=None)
    np.testing.assert_allclose(np.linalg.norm(delta(run(attack, linear))), EPS)


# The simplex.


def test_projection_is_that_of_the_released_code():
    rows = np.array(
        [
            [0.2, 0.3, 0.5],
            [0.4, -0.3, 0.4],
            [1.7, 0.5, -0.1],
            [-0.3, -0.1, -0.2],
            [0.0, 0.0, 0.0],
        ]
    )
    expected = [
        [0.2, 0.3, 0.5],
        [0.5, 0, 0.5],
        [2 / 3, 1 / 3, 0],
        [0, 1, 0],
        [1, 0, 0],
    ]
    np.testing.assert_allclose(perturb.project_simplex(rows), expected, rtol=1e-15)
    stacked = perturb.project_simplex({"a": rows[None]})["a"]
    np.testing.assert_allclose(stacked, [expected], rtol=1e-15)
    nan = perturb.project_simplex(jnp.array([[0.1, jnp.nan], [0.5, 1.5]]))
    np.testing.assert_allclose(nan, [[np.nan] * 2, [1 / 3, 2 / 3]])


@pytest.mark.parametrize(("norm", "steepest"), [("linf", True), ("l2", False)])
def test_every_iterate_lies_on_the_simplex(norm, steepest):
    attacks = [perturb.pgd(k, 2 / 7, norm, steepest, revert=False) for k in range(1, 8)]
    with jax.disable_jit():  # a Python loop, whose operations compile once
        points = [attack(wavy, SIMPLEX, KEY, EPS) for attack in attacks]
    for point in points:
        on_simplex(point)
    assert max(abs(delta(a, b)).max() for a, b in itertools.pairwise(points)) > 0.01


def test_draws_lie_on_the_simplex():
    for kind in (perturb.uniform(), perturb.gaussian()):
        for eps in (0.03, 0.3, 10.0):
            on_simplex(run(kind, None, eps=eps))


def written(mix, start, steps, gradient):
    """SDARTS-ADV in NumPy, following its code, from a given start."""

    def clip(rows):
        for row in rows:
            largest = row.argmax()
            row[:] = np.clip(row, 0, 1)
            if row.sum() == 0:
                row[largest] = 1
            row /= row.sum()
        return rows

    point = {k: clip(np.array(m)) for k, m in start.items()}
    for _ in range(steps):
        g = gradient(point)
        for k, m in mix.items():
            moved = point[k] + 2 * EPS / steps * np.sign(g[k])
            point[k] = clip(m + np.clip(moved - m, -EPS, EPS))
    return point


@pytest.mark.parametrize("seed", range(3))
def test_attack_is_the_written_algorithm(seed):
    key = jax.random.key(seed)
    start = run(perturb.uniform(project=None), None, key=key)
    gradient = jax.jit(jax.grad(wavy))
    expected = written(SIMPLEX, jax.device_get(start), 7, gradient)
    found = run(perturb.pgd(revert=False), wavy, key=key)
    np.testing.assert_allclose(flat(found), flat(expected), rtol=1e-9)


def test_the_box_clamps_every_entry_alone():
    mix = {"normal": jnp.array([[0.9, 0.1], [0.5, 0.6]])}
    push = lambda mix: (jnp.array([[1.0, -1.0], [1.0, 1.0]]) * mix["normal"]).sum()
    attack = perturb.pgd(random_start=False, project=perturb.project_box)
    found = attack(push, mix, KEY, 0.3)["normal"]
    np.testing.assert_allclose(found, [[1.0, 0.0], [0.8, 0.9]], rtol=1e-6)


# Properties for every loss.


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("project", [perturb.project_simplex, None])
def test_attacked_loss_is_never_below_the_clean_one(norm, project):
    phases = jnp.linspace(0, 6, 200)
    keys = jax.random.split(KEY, 200)
    eps = EPS if norm == "linf" else 10 * EPS

    def gain(revert, key, phase):
        attack = perturb.pgd(3, 1.0, norm, project=project, revert=revert)
        loss = functools.partial(wavy, phase=phase)
        return loss(attack(loss, SIMPLEX, key, eps)) - loss(SIMPLEX)

    of = lambda revert: jax.jit(jax.vmap(functools.partial(gain, revert)))
    kept, plain = of(True)(keys, phases), of(False)(keys, phases)
    assert plain.min() < -0.1, "the test is vacuous"
    np.testing.assert_allclose(kept, jnp.maximum(plain, 0), atol=1e-12)


def test_a_loss_that_is_not_a_number_is_no_attack():
    broken = lambda mix: jnp.log(-flat(mix)).sum()
    found = run(perturb.pgd(), broken)
    np.testing.assert_array_equal(flat(found), flat(SIMPLEX))


@pytest.mark.parametrize(
    "kind",
    [
        perturb.uniform(),
        perturb.uniform(project=None),
        perturb.gaussian(),
        perturb.pgd(),
        perturb.pgd(norm="l2", steepest=False, revert=False),
    ],
)
def test_eps_0_gives_mix_itself(kind):
    single = jax.tree.map(lambda m: jnp.asarray(m, jnp.float32), SIMPLEX)
    for mix in (single, {"off": jnp.zeros((2, 3))}, SIMPLEX):
        found = run(kind, squares, mix, eps=0.0)
        jax.tree.map(np.testing.assert_array_equal, found, mix)
        dtypes = lambda mix: jax.tree.map(lambda m: m.dtype, mix)
        assert dtypes(found) == dtypes(mix)


@pytest.mark.parametrize("kind", [perturb.uniform(), perturb.pgd(revert=False)])
def test_same_key_same_bits_and_vmap_is_a_loop(kind):
    first, second = run(kind, wavy), run(kind, wavy)
    np.testing.assert_array_equal(flat(first), flat(second))
    other = run(kind, wavy, key=jax.random.key(4))
    assert abs(delta(first, other)).max() > 0.01
    keys, eps = jax.random.split(KEY, 3), jnp.array([0.03, 0.1, 0.3])
    many = jax.jit(jax.vmap(lambda key, eps: flat(kind(wavy, SIMPLEX, key, eps))))
    one = [flat(run(kind, wavy, key=k, eps=e)) for k, e in zip(keys, eps, strict=True)]
    np.testing.assert_allclose(many(keys, eps), one, rtol=1e-9)


def test_the_result_is_a_constant():
    """Gradients with respect to w and to mix treat the perturbed point as a constant."""
    attack = perturb.pgd()

    def loss(w, mix):
        return jnp.sin(w * flat(mix)).sum()

    def perturbed(w):
        return loss(w, attack(lambda mix: loss(w, mix), SIMPLEX, KEY, EPS))

    fixed = run(attack, lambda mix: loss(2.0, mix))
    expected = jax.grad(loss)(2.0, fixed)
    np.testing.assert_allclose(jax.jit(jax.grad(perturbed))(2.0), expected, rtol=1e-9)
    through = jax.grad(lambda mix: linear(perturb.uniform()(None, mix, KEY, EPS)))
    assert (flat(through(SIMPLEX)) == 0).all()


def test_half_precision():
    mix = {"a": jnp.full((3, 4), 0.25, jnp.bfloat16)}
    g = jnp.arange(4, dtype=jnp.bfloat16) - 1
    for kind in (perturb.uniform(), perturb.pgd()):
        found = run(kind, lambda mix: (g[None] * mix["a"]).sum(), mix)["a"]
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(found.sum(-1).astype(float), 1, atol=0.02)


# Epsilon, and refused settings.


def test_ramp():
    eps = perturb.ramp(0.03, 0.3)
    np.testing.assert_allclose(jax.jit(eps)(jnp.arange(50.0) / 50)[-1], 0.2946)
    assert eps(0) == 0.03
    assert perturb.ramp(0.1, 0.1)(2 / 3) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: perturb.pgd(steps=0), "steps is 0"),
        (lambda: perturb.pgd(step_size=0.0), "step_size is 0.0"),
        (lambda: perturb.pgd(norm="l1"), "norm is 'l1'; expected 'linf' or 'l2'"),
        (lambda: perturb.ramp(-0.1, 0.3), "start is -0.1"),
        (lambda: perturb.ramp(0.1, float("nan")), "end is nan"),
    ],
)
def test_refused(build, words):
    with pytest.raises(ValueError, match=words):
        build()
