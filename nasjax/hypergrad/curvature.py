"""The curvature of a scalar function over a small pytree, such as alpha.

The eigenvalues of the Hessian of the validation loss in alpha are what collapse is seen
by: Zela et al., arXiv 1909.09656, follow the largest, Chen and Hsieh (SmoothDARTS),
arXiv 2002.05283, figure 5, name it the spectral norm, which is the largest in
magnitude; their eq. 6 has the trace. Here are all three, from exact Hessian-vector
products: for a few hundred entries the whole matrix, beyond that Lanczos's method and
Hutchinson's estimate.

A product costs about two gradients of f: of `chunk` products at once one gradient and
`chunk` derivatives of it. The entries of x are in the order of jax.tree.leaves. f closes
over everything else: weights, batch, batch statistics.

Deviations: the authors add the weight decay of alpha, 1e-3, to the diagonal, and so to
every eigenvalue, and report the absolute value of the largest. Here f is taken as given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax

from nasjax.core.arguments import count
from nasjax.core.trees import ravel
from nasjax.hypergrad import hvp

DENSE = 400  # entries up to which `spectrum` takes the whole Hessian


class Extremes(NamedTuple):
    """Eigenvalues at the ends of a spectrum, all scalars.

    Attributes:
      largest: the largest eigenvalue.
      strongest: the largest in magnitude, with its sign; its absolute value is the
        spectral norm.
      error: some eigenvalue lies as near to each of them, up to rounding. It does not
        say that none lies further out, where the method has not looked.
    """

    largest: Array
    strongest: Array
    error: Array


class Estimate(NamedTuple):
    """A mean over random draws and its standard error."""

    mean: Array
    error: Array


class Spectrum(NamedTuple):
    """What is worth watching of a Hessian, all scalars.

    Attributes:
      largest, strongest, error: see `Extremes`; the error of a whole matrix is 0.
      trace: sum of the eigenvalues.
      trace_error: its standard error; 0 where it is exact.
    """

    largest: Array
    strongest: Array
    error: Array
    trace: Array
    trace_error: Array


def hessian(f: Callable, x: Any, chunk: int = 8) -> Array:
    """The Hessian [n, n] of f at x, symmetric up to rounding. Takes n products.

    Args:
      f: x -> scalar.
      x: a pytree of n real floating-point numbers.
      chunk: products taken at once. More are faster and take more memory, each about
        that of a gradient.

    Raises:
      TypeError: a leaf of x is not floating point; f returns no scalar.
      ValueError: x is empty; chunk is no count.

    >>> print(hessian(lambda x: x["a"] ** 3 + x["a"] * x["b"], {"a": 1.0, "b": 2.0}))
    [[6. 1.]
     [1. 0.]]
    """
    product, vector = _product(f, x)
    return _products(product, jnp.eye(vector.size, dtype=vector.dtype), chunk)


def eigenvalues(f: Callable, x: Any, chunk: int = 8) -> Array:
    """All eigenvalues [n] of the Hessian, ascending. Takes n products; see `hessian`.

    >>> print(eigenvalues(lambda x: x[0] * x[1], jnp.ones(2)))
    [-1.  1.]
    """
    return jnp.linalg.eigvalsh(hessian(f, x, chunk))


def trace(f: Callable, x: Any, chunk: int = 8) -> Array:
    """The trace of the Hessian. Takes n products; see `hessian`.

    >>> float(trace(lambda x: 2 * x[0] ** 2 + x[0] * x[1], jnp.ones(2)))
    4.0
    """
    return jnp.trace(hessian(f, x, chunk))


def hutchinson(
    f: Callable, x: Any, key: Array, samples: int = 32, chunk: int = 8
) -> Estimate:
    """The trace of the Hessian as the mean of z' H z, z of random signs.

    Takes `samples` products. The variance of a sample is twice the sum of squares of
    the entries off the diagonal. Hutchinson, "A Stochastic Estimator of the Trace of
    the Influence Matrix", 1989.

    Args:
      f, x, chunk: see `hessian`.
      key: of the signs.
      samples: at least 2, so that they have a spread.

    Raises:
      TypeError, ValueError: as `hessian`; samples is no count above 1.

    >>> found = hutchinson(lambda x: (x**2).sum(), jnp.ones(3), jax.random.key(0))
    >>> [float(value) for value in found]
    [6.0, 0.0]
    """
    count(samples, "samples")
    if samples == 1:
        raise ValueError("samples is 1; expected at least 2, to see how they differ.")
    product, vector = _product(f, x)
    z = jax.random.rademacher(key, (samples, vector.size), vector.dtype)
    each = jnp.sum(z * _products(product, z, chunk), 1)
    return Estimate(each.mean(), each.std(ddof=1) / samples**0.5)


def dominant(f: Callable, x: Any, key: Array, steps: int = 40) -> Extremes:
    """The ends of the spectrum by Lanczos's method. Takes min(steps, n) products.

    All vectors are kept and orthogonalised against, twice, which takes `steps` [n]
    vectors of memory. Where the vectors span an invariant subspace the method goes on
    from a new random one, so that n steps see every eigenvalue. Parlett, "The Symmetric
    Eigenvalue Problem", chapter 13.

    Args:
      f, x: see `hessian`.
      key: of the first vector, and of new ones.
      steps: at most.

    Raises:
      TypeError, ValueError: as `hessian`; steps is no count.

    >>> f = lambda x: 2 * x[:40].sum() ** 2 - 3 * x[40:].sum() ** 2
    >>> found = dominant(f, jnp.ones(90), jax.random.key(0), steps=5)
    >>> [round(float(value)) for value in found]
    [160, -300, 0]
    """
    return extremes_and_trace(f, x, key, steps, probes=0)[0]


def extremes_and_trace(
    f: Callable, x: Any, key: Array, steps: int = 40, probes: int = 8
) -> tuple[Extremes, Estimate]:
    """`dominant` and `hutchinson` in one loop, so that the product is compiled once.

    Takes min(steps, n) + probes products. One probe has no standard error, which is
    then 0; without probes trace and error are 0.

    Args:
      f, x, key, steps: see `dominant`.
      probes: samples of the trace.

    Raises:
      TypeError, ValueError: as `dominant`; probes is negative or no integer.

    >>> ends, trace = extremes_and_trace(lambda x: (x**2).sum(), jnp.ones(3), jax.random.key(0))
    >>> round(float(ends.largest), 4), round(float(trace.mean), 4)
    (2.0, 6.0)
    """
    count(steps, "steps")
    if probes:
        count(probes, "probes")
    product, vector = _product(f, x)
    n, dtype = vector.size, vector.dtype
    steps = min(steps, n)
    rounding = 10 * n**0.5 * jnp.finfo(dtype).eps
    key, trace_key = jax.random.split(key)
    signs = jax.random.rademacher(trace_key, (probes, n), dtype)

    def lanczos(i, state, image):
        basis, diagonal, beside, v, scale = state
        basis = basis.at[i].set(v)
        diagonal = diagonal.at[i].set(jnp.vdot(v, image))
        scale = jnp.maximum(scale, jnp.linalg.norm(image))
        rest = _apart(image, basis)
        size = jnp.linalg.norm(rest)
        closed = size <= rounding * scale
        new = jax.random.normal(jax.random.fold_in(key, i), (n,), dtype)
        beside = beside.at[i].set(jnp.where(closed, 0, size))
        v = _unit(jnp.where(closed, _apart(new, basis), rest))
        return basis, diagonal, beside, v, scale

    def step(i, carried):
        state, traces = carried
        if not probes:
            return lanczos(i, state, product(state[3])), traces
        probe = jnp.maximum(i - steps, 0)
        v = jnp.where(i < steps, state[3], signs[probe])
        image = product(v)
        state = lax.cond(i < steps, lambda: lanczos(i, state, image), lambda: state)
        return state, traces.at[probe].set(jnp.vdot(v, image))

    first = _unit(jax.random.normal(jax.random.fold_in(key, steps), (n,), dtype))
    zeros = jnp.zeros(steps, dtype)
    start = (jnp.zeros((steps, n), dtype), zeros, zeros, first, jnp.zeros((), dtype))
    (_, diagonal, beside, _, _), traces = lax.fori_loop(
        0, steps + probes, step, (start, jnp.zeros(probes, dtype))
    )
    off = jnp.diag(beside[:-1], 1)
    values, vectors = jnp.linalg.eigh(jnp.diag(diagonal) + off + off.T)
    error = beside[-1] * jnp.abs(vectors[-1, jnp.array([0, -1])]).max()
    spread = traces.std(ddof=min(probes - 1, 1)) if probes else jnp.zeros((), dtype)
    mean = traces.sum() / max(probes, 1)
    trace = Estimate(mean, spread / max(probes, 1) ** 0.5)
    return Extremes(values[-1], _strongest(values), error), trace


def spectrum(
    f: Callable,
    x: Any,
    key: Array | None = None,
    steps: int = 40,
    samples: int = 32,
    chunk: int = 8,
) -> Spectrum:
    """The numbers to watch: exact for up to 400 entries, estimated beyond.

    Takes n products, or min(steps, n) + samples of them beyond.

    Args:
      f, x, chunk: see `hessian`.
      key: only needed beyond.
      steps: see `dominant`.
      samples: see `hutchinson`.

    Raises:
      TypeError, ValueError: as `hessian`; there is no key where one is needed.

    >>> found = spectrum(lambda x: x[0] ** 2 - 2 * x[1] ** 2, jnp.ones(2))
    >>> [float(value) for value in found]
    [2.0, -4.0, 0.0, -2.0, 0.0]
    """
    n = _product(f, x)[1].size
    if n <= DENSE:
        matrix = hessian(f, x, chunk)
        values, zero = jnp.linalg.eigvalsh(matrix), jnp.zeros((), matrix.dtype)
        return Spectrum(values[-1], _strongest(values), zero, jnp.trace(matrix), zero)
    if key is None:
        raise ValueError(
            f"x has {n} entries and no key was given; expected one, because beyond "
            f"{DENSE} entries the curvature is estimated by random vectors."
        )
    ends, trace = extremes_and_trace(f, x, key, steps, samples)
    return Spectrum(*ends, *trace)


def _product(f: Callable, x: Any) -> tuple[Callable, Array]:
    """v [n] -> H v [n] at x, and x as a vector."""
    vector, restore = ravel(x)
    if not vector.size:
        raise ValueError("x has no entries; expected at least one number.")
    of_vector = lambda vector, *_: f(restore(vector))
    return lambda v: hvp(of_vector, vector, None, None, v), vector


def _products(product: Callable, vectors: Array, chunk: int) -> Array:
    """H times every row of vectors [k, n], `chunk` at once."""
    count(chunk, "chunk")
    k, n = vectors.shape
    chunk = min(chunk, k)
    padded = jnp.pad(vectors, ((0, -k % chunk), (0, 0))).reshape(-1, chunk, n)
    return lax.map(jax.vmap(product), padded).reshape(-1, n)[:k]


def _apart(v: Array, basis: Array) -> Array:
    """v without its part in the span of the rows of basis; once is not enough."""
    dot = lambda a, b: jnp.matmul(a, b, precision=lax.Precision.HIGHEST)
    for _ in range(2):
        v = v - dot(dot(basis, v), basis)
    return v


def _strongest(ascending: Array) -> Array:
    low, high = ascending[0], ascending[-1]
    return jnp.where(-low > high, low, high)


def _unit(vector: Array) -> Array:
    norm = jnp.linalg.norm(vector)
    return vector / jnp.maximum(norm, jnp.finfo(vector.dtype).tiny)
