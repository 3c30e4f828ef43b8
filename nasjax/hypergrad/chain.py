"""Nested problems of any depth: each level takes a step, which the next level sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from nasjax.core import arguments
from nasjax.hypergrad import optimizers, products
from nasjax.hypergrad.diagnosis import Step, Walk
from nasjax.hypergrad.estimators import Estimator, Hypergradient


class Level(NamedTuple):
    """One level of a nested problem.

    Attributes:
      name: key of the level's value in w and of its optimiser state in opt_state.
      update: (solutions, arch, train_batch, opt_state) -> the level's new value.
        solutions: name -> value; earlier levels have stepped, the others have not.
        opt_state: the optimiser state of this level, or None.
      step: as `update`, -> (optimizer, gradient, state, value) of the step, for `check`.
    """

    name: str
    update: Callable
    step: Callable | None = None


def descend(
    name: str, loss: Callable, optimizer, along: Callable = products.along
) -> Level:
    """A level that takes one optimiser step on its own loss.

    Args:
      name: name of the level.
      loss: (solutions, arch, batch) -> scalar, descended in solutions[name].
      optimizer: anything with optax's init and update.
      along: how second derivatives are taken: exactly by default, or as in the papers
        by `finite_difference.along()`.

    Raises:
      TypeError: the optimiser lacks init or update.
    """
    optimizers.pair(optimizer, f"the optimizer of level {name!r}")
    loss = arguments.scalar(loss, f"the loss of level {name!r}")

    def own(value, others, batch):
        solutions, arch = others
        return loss({**solutions, name: value}, arch, batch)

    own_gradient = products.gradient(own, along)

    def step(solutions, arch, train_batch, opt_state):
        value = jax.tree.map(jnp.asarray, solutions[name])
        others = {k: v for k, v in solutions.items() if k != name}
        state = optimizers.live(optimizer, value, opt_state, f"[{name!r}]")
        slope = own_gradient(value, (others, arch), train_batch)
        return optimizer, slope, state, value

    def update(solutions, arch, train_batch, opt_state):
        return optimizers.step(*step(solutions, arch, train_batch, opt_state))[0]

    return Level(name, update, step)


def chain(levels: Sequence[Level], objective: Callable) -> Estimator:
    """d objective / d alpha through the steps of all levels, one after the other.

    The derivative of the composed map is exact, along all direct and indirect paths. A
    chain of one `descend` equals `unrolled` with one step; SANAS is a chain of three
    levels. The cost is one gradient evaluation for the objective and three for each
    `descend`. Memory holds all solutions, and the intermediate values of one gradient
    at a time.

    `objective` must be differentiated in reverse mode first, as in `unrolled`.

    Args:
      levels: the levels in the order in which they step.
      objective: (solutions, arch, val_batch) -> scalar.

    Returns:
      An estimator whose w and opt_state are dictionaries keyed by level name. A level
      that opt_state lacks starts its optimiser afresh.

    Raises:
      ValueError: two levels have the same name, or there are no levels. When called: w
        or opt_state has other names, or a level changes the structure or shapes of its
        value.

    >>> import optax
    >>> pull = lambda x, y: 0.5 * (x - y) ** 2
    >>> estimator = chain(
    ...     [descend("u", lambda s, a, batch: pull(s["u"], a), optax.sgd(0.5)),
    ...      descend("v", lambda s, a, batch: pull(s["v"], s["u"]), optax.sgd(0.5))],
    ...     lambda s, a, batch: s["v"])
    >>> value, grad = estimator({"u": 0.0, "v": 0.0}, 1.0, None, None)
    >>> float(value), float(grad)  # u = 0.5 a, v = 0.5 u
    (0.25, 0.25)
    """
    names = [level.name for level in levels]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"The levels are named {names}; expected distinct names.")
    last = arguments.scalar(objective, "objective")

    def composed(w, arch, train_batch, val_batch, opt_state=None):
        states = opt_state or {}
        if not isinstance(w, dict) or set(w) != set(names):
            given = sorted(w) if isinstance(w, dict) else type(w).__name__
            raise ValueError(
                f"w is {given}; expected a dictionary with the levels {names}."
            )
        if not isinstance(states, dict) or set(states) - set(names):
            given = (
                sorted(states) if isinstance(states, dict) else type(states).__name__
            )
            raise ValueError(
                f"opt_state is {given}; expected a dictionary with some of the levels "
                f"{names}."
            )
        solutions = dict(w)
        for level in levels:
            value = level.update(
                dict(solutions), arch, train_batch, states.get(level.name)
            )
            arguments.like(
                value,
                w[level.name],
                f"the value returned by level {level.name!r}",
                f"w[{level.name!r}]",
            )
            solutions[level.name] = value
        return last(solutions, arch, val_batch)

    def estimate(w, arch, train_batch, val_batch, opt_state):
        total = jax.value_and_grad(composed, 1)
        return Hypergradient(*total(w, arch, train_batch, val_batch, opt_state))

    def walk(w, arch, train_batch, val_batch, opt_state):
        solutions = dict(w)
        for level in levels:
            at = {**solutions}, arch, train_batch, (opt_state or {}).get(level.name)
            if level.step:
                where = f"level {level.name!r}"
                yield Step(where, f"the loss of {where}", *level.step(*at))
            solutions[level.name] = level.update(*at)
        slopes = jax.grad(last, (0, 1))(solutions, arch, val_batch)
        yield Step("", "the objective", None, slopes, None, None)

    cost = 1 + 3 * len(names)
    return Estimator("chain", composed, estimate, cost, diagnosis=Walk(walk))
