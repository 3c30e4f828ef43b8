import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.problems import quadratic, smooth

from nasjax.hypergrad import (
    Estimator,
    Hypergradient,
    cg,
    chain,
    check,
    descend,
    finite_difference,
    first_order,
    ggn,
    hvp,
    identity,
    implicit,
    mixed_vjp,
    unrolled,
)


def test_a_right_hypergradient_agrees_on_its_plateau(float64):
    p = smooth(batches=3)
    report = check(
        unrolled(p.loss, p.loss, optax.sgd(0.3), 3), p.w, p.alpha, p.train, p.val
    )
    assert report.agrees and report.error < 1e-8 and not report.remarks
    assert 1e-7 < report.step < 1e-2
    assert len(report.errors) == len(report.steps) == 8
    assert "unrolled_3 agrees with central differences: relative error" in str(report)


def test_a_wrong_one_does_not(float64):
    """First order against an unrolled objective; then its finite-difference twin."""
    p = smooth()
    right = unrolled(p.loss, p.loss, optax.sgd(0.3))
    wrong = first_order(p.loss)
    mixed = Estimator("mixed", right.objective, wrong.estimate, 1)
    report = check(mixed, p.w, p.alpha, p.train, p.val)
    assert not report.agrees and report.error > 1e-2
    assert "biased" in report.remarks[0]
    assert str(report).startswith("mixed DOES NOT AGREE")
    twin = finite_difference.unrolled(p.loss, p.loss, optax.sgd(0.3))
    report = check(twin, p.w, p.alpha, p.train, p.val)
    assert not report.agrees and report.error < 1e-2  # off by epsilon squared


def test_implicit_needs_the_solution(float64):
    q = quadratic(5)
    estimator = implicit(q.train_loss, q.val_loss, cg(50, tol=1e-14))
    solve = lambda w, a, batch: jnp.linalg.solve(q.H, q.M @ a + q.c)
    with pytest.raises(ValueError, match="give solve="):
        check(estimator, q.solve(q.a), q.a, None, None)
    report = check(estimator, q.solve(q.a), q.a, None, None, solve=solve)
    assert report.agrees and report.error < 1e-8
    biased = implicit(q.train_loss, q.val_loss, identity(0.1))
    report = check(biased, q.solve(q.a), q.a, None, None, solve=solve)
    assert not report.agrees and report.error > 1e-2
    report = check(estimator, q.solve(q.a) + 1, q.a, None, None, solve=solve)
    assert not report.agrees
    assert "inner problem is not at its optimum" in report.remarks[0]


def test_without_a_plateau_it_says_so_and_advises_float64():
    """Wiggles that only small steps resolve, on a value whose digits then cancel."""
    loss = lambda w, a, x: 1e3 + 1e-3 * w * jnp.sum(jnp.sin(1e3 * a))
    report = check(first_order(loss), 1.0, jnp.arange(3.0), None, None)
    assert report.step is None and not report.agrees and np.isnan(report.error)
    assert "no plateau" in report.remarks[-1] and "JAX_ENABLE_X64" in report.remarks[-1]
    with jax.enable_x64(True):
        wide = check(first_order(loss), 1.0, jnp.arange(3, dtype=float), None, None)
    assert wide.agrees and wide.step < 1e-4


def test_a_derivative_below_the_last_digit_is_no_bias():
    """All differences are exactly 0 in float32, whatever the slope."""
    faint = lambda w, a, x: 1 + 1e-9 * w * a
    report = check(first_order(faint), 1.0, 1.0, None, None)
    assert report.step is None and "no plateau" in report.remarks[0]
    with jax.enable_x64(True):
        assert check(first_order(faint), 1.0, 1.0, None, None).agrees


def test_python_numbers_are_checked_in_double_precision(float64):
    report = check(first_order(lambda w, a, x: jnp.sin(w * a)), 1.0, 1.0, None, None)
    assert report.agrees and report.error < 1e-8


def named(estimator, *arguments, **more):
    return " ".join(check(estimator, *arguments, **more).remarks)


def test_likely_causes_are_named(float64):
    free = lambda w, a, x: jnp.sum(a**2)
    cut = lambda w, a, x: jnp.sum((w - jax.lax.stop_gradient(a)) ** 2)
    root = lambda w, a, x: jnp.sum(jnp.sqrt(w * a))
    at = jnp.ones(2), jnp.ones(2), None, None
    sgd = optax.sgd(0.1)
    said = named(unrolled(cut, free, sgd), *at)
    assert "does not depend on w" in said and "direct gradient alone" in said
    said = named(unrolled(cut, cut, sgd), *at)
    assert "hypergradient is zero" in said and "stop_gradient" in said
    said = named(first_order(root), jnp.zeros(2), jnp.zeros(2), None, None)
    assert "not finite" in said and "a loss is not differentiable" in said
    said = named(first_order(lambda w, a, x: jnp.log(-jnp.sum(a**2))), *at)
    assert "The validation loss is nan" in said
    wrong = Estimator(
        "wrong",
        lambda w, a, t, v, s=None: jnp.sum(a),
        lambda w, a, t, v, s: Hypergradient(jnp.sum(a), {"b": a}),
        1,
    )
    assert "The hypergradient has the structure" in named(wrong, *at)
    with pytest.raises(TypeError, match="no objective"):
        check(lambda *a: None, *at)


BAD = {
    "integers in w": (
        lambda f: unrolled(f, f, optax.sgd(0.1)),
        ({"n": jnp.arange(2)}, 1.0, None, None),
        r"w\['n'\] is int\d+; expected floating point",
    ),
    "integers in arch": (
        lambda f: first_order(f),
        (1.0, jnp.arange(2), None, None),
        r"arch is int\d+; expected floating point",
    ),
    "a vector for a loss": (
        lambda f: first_order(lambda w, a, x: a * jnp.ones(3)),
        (1.0, 1.0, None, None),
        r"val_loss returned float\d+\[3\]; expected a floating-point scalar",
    ),
    "a tuple for a loss": (
        lambda f: unrolled(lambda w, a, x: (w, a), f, optax.sgd(0.1)),
        (1.0, 1.0, None, None),
        "train_loss returned a tuple; expected the scalar alone",
    ),
    "no leading axis": (
        lambda f: unrolled(f, f, optax.sgd(0.1), steps=3),
        (1.0, 1.0, {"x": jnp.ones((2, 5))}, None),
        r"train_batch\['x'\] has shape \(2, 5\); with steps = 3 every leaf",
    ),
    "no axis at all": (
        lambda f: unrolled(f, f, optax.sgd(0.1), steps=3),
        (1.0, 1.0, 4.0, None),
        r"train_batch has shape \(\); with steps = 3",
    ),
    "another optimiser's state": (
        lambda f: unrolled(f, f, optax.sgd(0.1, 0.9)),
        (1.0, 1.0, None, None, optax.adam(0.1).init(1.0)),
        "opt_state has the structure .* expected the structure of optimizer.init",
    ),
    "a state of other shapes": (
        lambda f: unrolled(f, f, optax.sgd(0.1, 0.9)),
        (1.0, 1.0, None, None, optax.sgd(0.1, 0.9).init(jnp.ones(2))),
        r"opt_state.* has shape \(2,\); expected \(\)",
    ),
    "an inverse of another structure": (
        lambda f: implicit(f, f, lambda matvec, v: {"x": v}),
        (1.0, 1.0, None, None),
        "the value returned by the inverse has the structure",
    ),
    "another structure in the depths of a large one": (
        lambda f: lambda w, v: hvp(f, w, 1.0, None, v),
        ({"a": [1.0] * 99, "b": {"c": 1.0}}, {"a": [1.0] * 99, "b": {"d": 1.0}}),
        r"v has the structure .{200}\.\.\.; expected the structure of w, "
        r".{200}\.\.\.; they differ at \['b'\]\['d'\]",
    ),
    "the twin with another optimiser's state": (
        lambda f: finite_difference.unrolled(f, f, optax.sgd(0.1, 0.9)),
        (1.0, 1.0, None, None, optax.adam(0.1).init(1.0)),
        "opt_state has the structure .* expected the structure of optimizer.init",
    ),
    "an epsilon of 0": (
        lambda f: finite_difference.amended(f, f, 0.1, epsilon=0.0),
        (),
        "epsilon is 0.0; expected a number above 0",
    ),
    "one step to check at": (
        lambda f: lambda *at: check(first_order(f), *at, steps=(1e-3,)),
        (1.0, 1.0, None, None),
        r"steps is \(0.001,\); expected at least two",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence(case):
    make, arguments, words = BAD[case]
    with pytest.raises((TypeError, ValueError), match=words) as caught:
        make(lambda w, a, x: jnp.sum(jnp.asarray(w) * a))(*arguments)
    assert "\n" not in str(caught.value)


SGD = optax.sgd(0.1)
EVERY = {
    "first_order": lambda f: first_order(f),
    "unrolled": lambda f: unrolled(f, f, SGD),
    "unrolled_2": lambda f: unrolled(f, f, SGD, 2),
    "implicit": lambda f: implicit(f, f, cg(1)),
    "twin of unrolled": lambda f: finite_difference.unrolled(f, f, SGD),
    "twin of amended": lambda f: finite_difference.amended(f, f, 0.1),
    "chain": lambda f: chain(
        [descend("w", lambda s, a, x: f(s["w"], a, x), SGD)],
        lambda s, a, x: f(s["w"], a, x),
    ),
}
for name, product in {
    "hvp": hvp, "mixed_vjp": mixed_vjp, "twin of hvp": finite_difference.hvp,
    "twin of mixed_vjp": finite_difference.mixed_vjp,
}.items():  # fmt: skip
    EVERY[name] = lambda f, product=product: (
        lambda w, a, x, v: product(f, w, a, x, jnp.ones(2))
    )


def called(name, loss, w, arch):
    EVERY[name](loss)({"w": w} if name == "chain" else w, arch, None, None)


@pytest.mark.parametrize("name", EVERY)
def test_every_estimator_and_product_says_what_a_loss_returned(name):
    for returned, words in (
        (jnp.ones(3), r"float32\[3\]; expected a floating-point scalar"),
        (jnp.int32(3), r"int32\[\]; expected a floating-point scalar"),
        ((1.0, 2.0), "a tuple; expected the scalar alone"),
        ({"loss": 1.0}, "a dict; expected the scalar alone"),
        (None, "None; expected the scalar alone"),
    ):
        with pytest.raises(TypeError, match=f"returned {words}"):
            called(name, lambda *at, returned=returned: returned, jnp.ones(2), 1.0)


@pytest.mark.parametrize("name", EVERY)
def test_every_estimator_and_product_refuses_integers(name):
    loss = lambda w, a, x: jnp.sum(w * 1.0) * a
    with pytest.raises(TypeError, match=r"^w.* is int32; expected floating point"):
        called(name, loss, jnp.arange(2), 1.0)
    if "hvp" not in name:
        with pytest.raises(TypeError, match=r"^arch is int32; expected floating point"):
            called(name, loss, jnp.ones(2), 1)


def test_gauss_newton_refuses_the_same():
    product = ggn(lambda w, a, x: w * a, lambda z, x: z)
    with pytest.raises(TypeError, match=r"loss_of_outputs returned float32\[2\]"):
        product(None, jnp.ones(2), 1.0, None, jnp.ones(2))
    with pytest.raises(TypeError, match="w is int32"):
        product(None, jnp.arange(2), 1.0, None, jnp.ones(2))
    with pytest.raises(ValueError, match=r"v has shape \(3,\); expected \(2,\)"):
        product(None, jnp.ones(2), 1.0, None, jnp.ones(3))


@pytest.mark.parametrize("steps", [0, 2.0])
def test_steps_are_a_whole_number(steps):
    words = f"steps is {steps}; expected a positive integer"
    with pytest.raises(ValueError, match=words):
        unrolled(None, None, None, steps=steps)
