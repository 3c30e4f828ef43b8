"""Search algorithms for a tabular benchmark, each a function of a table and a key.

The zero-order methods search over alpha [E, O] as in ZARTS, but the loss of a candidate
is the loss of its strongest operations (`losses`), not of a supernet that mixes all
operations by softmax: a table has no mixtures. The results show how well the methods
search, without the effects of weight sharing and relaxation. The loss is constant
except where the strongest operation of an edge changes. Its gradient is zero almost
everywhere, and finite differences need radii of the order of the gaps of alpha.

Every evaluation counts, also of an architecture that was evaluated before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nasjax import zeroth
from nasjax.core import arguments
from nasjax.core.keys import derive

# (signal [O] * E, key, evaluations) -> numbers [evaluations], in order
Search = Callable[[Array, Array, int], Array]


def number(choices: Array, operations: int) -> Array:
    """Choices [..., E] as numbers in base O; the first edge is the highest digit.

    They index the flat signal.

    >>> int(number(jnp.array([1, 0, 2]), 3))
    11
    """
    edges = choices.shape[-1]
    return choices @ jnp.array([operations**i for i in reversed(range(edges))])


def losses(signal: Array, alpha: Array) -> Array:
    """100 - the signal of the architecture with the strongest operation of each edge.

    Args:
      signal: accuracies in percent, of shape [O] * E.
      alpha: alpha of each candidate, [..., E, O].

    >>> signal = jnp.array([[10.0, 20.0], [30.0, 40.0]])
    >>> float(losses(signal, jnp.array([[0.1, 0.3], [0.9, 0.1]])))
    70.0
    """
    return 100 - signal.ravel()[number(alpha.argmax(-1), signal.shape[0])]


def random_search(signal: Array, key: Array, evaluations: int) -> Array:
    """Uniform draws, each independent of the others. A `Search`."""
    return jax.random.randint(key, (evaluations,), 0, signal.size)


def evolution(population: int, tournament: int) -> Search:
    """Regularised evolution: the oldest member dies, whatever its accuracy.

    Real et al., "Regularized Evolution for Image Classifier Architecture Search", AAAI
    2019, arXiv 1802.01548, Algorithm 1. The first members are drawn uniformly. Then the
    best of a tournament, drawn with replacement, has a child that differs on one edge.

    Args:
      population: number of members that live at a time.
      tournament: number of members of which a parent is the best.

    Raises:
      ValueError: one is not a positive integer.
    """
    arguments.count(population, "population")
    arguments.count(tournament, "tournament")

    def search(signal: Array, key: Array, evaluations: int) -> Array:
        edges, operations = signal.ndim, signal.shape[0]
        first = jax.random.randint(
            derive(key, "first"), (population, edges), 0, operations
        )
        count = max(evaluations - population, 0)
        below = np.array([population] * tournament + [edges, operations - 1])
        uniform = jax.random.uniform(derive(key, "later"), (count, len(below)))
        later = (uniform * below.astype(np.float32)[None]).astype(jnp.int32)

        def step(alive, drawn):
            index, row = drawn
            rivals, (edge, shift) = alive[row[:-2]], row[-2:]
            parent = rivals[signal.ravel()[number(rivals, operations)].argmax()]
            child = parent.at[edge].set((parent[edge] + 1 + shift) % operations)
            # The population is a ring: children take the places of the oldest.
            return alive.at[index % population].set(child), child

        _, children = jax.lax.scan(step, first, (jnp.arange(count), later))
        return number(jnp.concatenate([first, children]), operations)[:evaluations]

    return search


def zeroth_order(method: zeroth.ZerothOrder) -> Search:
    """A method of `nasjax.zeroth` on `losses`, from alpha ~ 1e-3 N(0, I).

    Candidates of the last update beyond `evaluations` are left out.
    """

    def search(signal: Array, key: Array, evaluations: int) -> Array:
        edges, operations = signal.ndim, signal.shape[0]
        start_key, init_key, key = jax.random.split(key, 3)
        x = 1e-3 * jax.random.normal(start_key, (edges, operations))

        def step(carry, key):
            x, state = carry
            proposal = method.propose(state, x, key)
            found = losses(signal, proposal.candidates)
            x, state, _ = method.update(state, x, proposal, found)
            numbers = number(proposal.candidates.argmax(-1), operations)
            return (x, state), numbers

        keys = jax.random.split(key, -(-evaluations // method.samples))
        _, numbers = jax.lax.scan(step, (x, method.init(x, init_key)), keys)
        return numbers.ravel()[:evaluations]

    return search


# Evolution as Real et al. ran it. The settings of the others are among the best of a
# small grid on cifar10_valid_12ep, at 1000 evaluations and other seeds. The losses do not
# change with the scale of alpha, so the spread of MGS has no effect. Its weights omit
# 1/q, which in 30 dimensions would outweigh the losses.
METHODS: Mapping[str, Search] = {
    "random search": random_search,
    "evolution": evolution(population=100, tournament=25),
    "zero-order RS": zeroth_order(
        zeroth.random_search(5, 1.0, 0.03, distribution="normal")
    ),
    "zero-order MGS": zeroth_order(zeroth.mgs(20, 1.0, 3.0, weights="likelihood")),
    "zero-order GLD": zeroth_order(zeroth.gld(1.0, 0.01)),
}
