import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nasjax.hypergrad import (
    cg,
    chain,
    descend,
    finite_difference,
    first_order,
    implicit,
    unrolled,
)

loss = lambda w, a, batch: jnp.sum(w["x"] * a) ** 2
SGD = optax.sgd(0.1)
ESTIMATORS = {
    "first_order": lambda: first_order(loss),
    "unrolled": lambda: unrolled(loss, loss, SGD),
    "implicit": lambda: implicit(loss, loss, cg(1)),
    "twin": lambda: finite_difference.unrolled(loss, loss, SGD),
}
LEAVES = {
    "a function": (len, "the function len"),
    "a text": ("relu", "the text 'relu'"),
    "an object": (object(), "an object"),
    "an array of texts": (np.array(["a"]), "a ndarray of <U1"),
    "an array of objects": (np.array([None]), "a ndarray of object"),
}


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("leaf", LEAVES)
def test_leaves_that_are_no_arrays_are_named_with_their_place(name, leaf):
    value, words = LEAVES[leaf]
    good = {"x": 1.0}, 1.0, None
    for place, at in (
        (r"w\['f'\]", ({"x": 1.0, "f": value}, *good[1:])),
        ("arch", (good[0], value, None)),
        (r"train_batch\['f'\]", (*good[:2], {"f": value})),
    ):
        with pytest.raises(TypeError, match=f"^{place} is {words}; expected an array"):
            ESTIMATORS[name]()(*at, None)


@pytest.mark.parametrize("nothing", [None, {}, ()])
def test_nothing_to_differentiate(nothing):
    with pytest.raises(TypeError, match="^arch is .*, which holds no array"):
        ESTIMATORS["unrolled"]()({"x": 1.0}, nothing, None, None)


def test_none_beside_arrays_is_no_leaf():
    with_none, without = (
        ESTIMATORS["unrolled"]()({"x": 1.0, **more}, 1.0, None, None).grad
        for more in ({"bias": None}, {})
    )
    assert with_none == without


NO_OPTIMIZER = {
    "the function adam": optax.adam,
    "the class GradientTransformation": optax.GradientTransformation,
    "the text 'adam'": "adam",
    "None": None,
    "the function schedule": optax.cosine_decay_schedule(0.1, 9),
}


@pytest.mark.parametrize("words", NO_OPTIMIZER)
def test_things_that_are_no_optimiser(words):
    given = NO_OPTIMIZER[words]
    for make in (
        lambda: unrolled(loss, loss, given),
        lambda: finite_difference.unrolled(loss, loss, given),
        lambda: descend("w", loss, given),
    ):
        with pytest.raises(TypeError, match="expected an optimiser with init"):
            make()


MORE = {
    "lbfgs": (optax.lbfgs(), "'value', 'grad', and 'value_fn'"),
    "polyak_sgd": (optax.polyak_sgd(), "'value'"),
    "plateau": (optax.chain(SGD, optax.contrib.reduce_on_plateau()), "'value'"),
}


@pytest.mark.parametrize("name", MORE)
def test_an_optimiser_that_needs_more_than_a_gradient(name):
    optimizer, needs = MORE[name]
    words = f"^optimizer.update needs {needs}, which a step on a gradient"
    for steps in (1, 2):
        batches = jnp.zeros(steps) if steps > 1 else None
        with pytest.raises(ValueError, match=words) as caught:
            unrolled(loss, loss, optimizer, steps)({"x": 1.0}, 1.0, batches, None)
        assert "\n" not in str(caught.value)
    level = descend("w", lambda s, a, b: loss(s["w"], a, b), optimizer)
    with pytest.raises(ValueError, match=words):
        chain([level], lambda s, a, b: loss(s["w"], a, b))(
            {"w": {"x": 1.0}}, 1.0, None, None
        )


def test_schedules_and_wrappers_are_taken():
    schedule = optax.cosine_decay_schedule(0.1, 9)
    for optimizer in (
        optax.sgd(schedule),
        optax.inject_hyperparams(optax.sgd)(0.1),
        optax.MultiSteps(SGD, 2),
    ):
        found = unrolled(loss, loss, optimizer, 2)({"x": 1.0}, 1.0, jnp.zeros(2), None)
        assert np.isfinite(found.grad)


def test_an_own_optimiser_of_another_form():
    class Swapped:
        def init(self, w):
            return ()

        def update(self, slope, state, w):
            return list(slope.values()), state

    with pytest.raises(ValueError, match="the update returned by the optimiser"):
        unrolled(loss, loss, Swapped())({"x": 1.0}, 1.0, None, None)
