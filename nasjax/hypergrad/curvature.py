"""The curvature of a scalar function over a small pytree, such as alpha.

Collapse shows in the eigenvalues of the Hessian of the validation loss in alpha. Zela
et al., arXiv 1909.09656, follow the largest eigenvalue. Chen and Hsieh (SmoothDARTS),
arXiv 2002.05283, figure 5, call it the spectral norm, which is the largest in
magnitude; their eq. 6 has the trace. This module computes all three from exact
Hessian-vector products: from the full matrix for up to a few hundred entries, beyond
that by Lanczos's method and Hutchinson's estimate.

A product costs about two gradients of f. `chunk` products taken at once cost one
gradient and `chunk` derivatives of it. The entries of x are in the order of
jax.tree.leaves. f closes over everything else: weights, batch, batch statistics.

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

DENSE = 400  # most entries for which `spectrum` forms the full Hessian


class Extremes(NamedTuple):
    """Eigenvalues at the ends of a spectrum, all scalars.

    Attributes:
      largest: the largest eigenvalue.
      strongest: the largest in magnitude, with its sign; its absolute value is the
        spectral norm.
      error: bound on the distance from each of the two to an eigenvalue, up to
        rounding. It does not exclude eigenvalues further out that the method missed.
    """

    largest: Array
    strongest: Array
    error: Array


class Estimate(NamedTuple):
    """A mean over random draws and its standard error."""

    mean: Array
    error: Array


class Spectrum(NamedTuple):
    """The extreme eigenvalues and the trace of a Hessian, all scalars.

    Attributes:
      largest, strongest, error: see `Extremes`; the error is 0 for a full matrix.
      trace: sum of the eigenvalues.
      trace_error: standard error of the trace; 0 where the trace is exact.
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
      chunk: number of products taken at once. More are faster, but each takes about
        the memory of a gradient.

    Raises:
      TypeError: a leaf of x is not floating point; f does not return a scalar.
      ValueError: x is empty; chunk is not a positive integer.

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
    """The trace of the Hessian as the mean of z' H z, z random signs.

    Takes `samples` products. The variance of a sample is twice the sum of squares of
    the entries off the diagonal. Hutchinson, "A Stochastic Estimator of the Trace of
    the Influence Matrix", 1989.

    Args:
      f, x, chunk: see `hessian`.
      key: key of the random signs.
      samples: number of samples, at least 2 because of the standard error.

    Raises:
      TypeError, ValueError: as `hessian`; samples is not an integer above 1.

    >>> found = hutchinson(lambda x: (x**2).sum(), jnp.ones(3), jax.random.key(0))
    >>> [float(value) for value in found]
    [6.0, 0.0]
    """
    count(samples, "samples")
    if samples == 1:
        raise ValueError("samples is 1; expected at least 2, for a standard error.")
    product, vector = _product(f, x)
    z = jax.random.rademacher(key, (samples, vector.size), vector.dtype)
    each = jnp.sum(z * _products(product, z, chunk), 1)
    return Estimate(each.mean(), each.std(ddof=1) / samples**0.5)


def dominant(f: Callable, x: Any, key: Array, steps: int = 40) -> Extremes:
    """The ends of the spectrum by Lanczos's method. Takes min(steps, n) products.

    All `steps` vectors [n] stay in memory, and each new vector is orthogonalised
    against them twice. Where the vectors span an invariant subspace the method
    continues from a new random vector; n steps therefore find every eigenvalue.
    Parlett, "The Symmetric Eigenvalue Problem", chapter 13.

    Args:
      f, x: see `hessian`.
      key: key of the random vectors.
      steps: largest number of steps.

    Raises:
      TypeError, ValueError: as `hessian`; steps is not a positive integer.

    >>> f = lambda x: 2 * x[:40].sum() ** 2 - 3 * x[40:].sum() ** 2
    >>> found = dominant(f, jnp.ones(90), jax.random.key(0), steps=5)
    >>> [round(float(value)) for value in found]
    [160, -300, 0]
    """
    return extremes_and_trace(f, x, key, steps, probes=0)[0]


def extremes_and_trace(
    f: Callable, x: Any, key: Array, steps: int = 40, probes: int = 8
) -> tuple[Extremes, Estimate]:
    """`dominant` and `hutchinson` in one loop; the product is compiled once.

    Takes min(steps, n) + probes products. The standard error of one probe is given as
    0; without probes the trace and its error are 0.

    Args:
      f, x, key, steps: see `dominant`.
      probes: number of samples of the trace.

    Raises:
      TypeError, ValueError: as `dominant`; probes is negative or not an integer.

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
    """The extreme eigenvalues and the trace: exact up to 400 entries, then estimated.

    Takes n products up to 400 entries, min(steps, n) + samples products above.

    Args:
      f, x, chunk: see `hessian`.
      key: required above 400 entries, not used below.
      steps: see `dominant`.
      samples: see `hutchinson`.

    Raises:
      TypeError, ValueError: as `hessian`; key is None where it is required.

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
            f"x has {n} entries and no key was given; give one, because above "
            f"{DENSE} entries the curvature is estimated with random vectors."
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
    """v minus its projection on the rows of basis, twice because of rounding."""
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
