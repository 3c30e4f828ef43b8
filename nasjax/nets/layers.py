"""Layers for operations, cells and heads, and the options that layers share.

Maps are [H, C, W, B].
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from nasjax.core.errors import unknown
from nasjax.nets import lowering

DTYPES = ("float32", "bfloat16")
REMATS = ("auto", "none", "edge", "cell")


class Style(NamedTuple):
    """The options that all layers of one network share.

    Attributes:
      search: True in a supernet: batch norms of cells have no scale and bias. False in
        the network of a genotype.
      spelling: "conv" or "shift", see `nasjax.nets.lowering`.
      axis_name: mapped axis over which batch norm averages its moments (pmap only).
      remat: "none", or the unit that is computed again for its gradient instead of kept
        in memory: "edge" (of a supernet) or "cell".
      dtype: dtype of maps and of products with maps, "float32" or "bfloat16"; None: the
        dtype of the weights. Moments, statistics and logits have the dtype of the
        weights.
      pool_norm: True if a batch norm follows each pool.
    """

    search: bool
    spelling: str
    axis_name: str | None = None
    remat: str = "none"
    dtype: str | None = None
    pool_norm: bool = False

    @classmethod
    def of(
        cls,
        search: bool,
        spelling: str,
        axis_name: str | None,
        remat: str,
        dtype: str | None,
        pool_norm: bool = False,
    ) -> Style:
        """The style for options, with every "auto" resolved.

        Raises:
          UserError: an option is unknown.
        """
        spelling = lowering.resolve(spelling)
        if remat not in REMATS:
            raise unknown("remat", remat, REMATS)
        if dtype not in (None, *DTYPES):
            raise unknown("dtype", dtype, DTYPES)
        if remat == "auto":
            remat = "edge" if spelling == "shift" else "none"
        return cls(search, spelling, axis_name, remat, dtype, pool_norm)


class Uniform(flax.struct.PyTreeNode, nn.meta.AxisMetadata):
    """A parameter that `drawn` draws from U(-bound, bound), together with all others.

    One draw compiles at once; hundreds of draws take ten seconds to compile.
    """

    value: Any
    bound: float = flax.struct.field(pytree_node=False)

    def unbox(self):
        return self.value

    def replace_boxed(self, val):
        return self.replace(value=val)

    def add_axis(self, index, params):
        return self

    def remove_axis(self, index, params):
        return self


def uniform_fan_in(fan_in: int) -> Callable:
    """PyTorch's default for convolutions and linear layers: U(+-1 / sqrt(fan_in)).

    `Model.init` draws the values. For a module initialised alone, call `drawn`.
    """

    def init(key, shape, dtype=jnp.float32):
        del key
        return Uniform(jnp.zeros(shape, dtype), fan_in**-0.5)

    return init


def drawn(variables: Any, key: Array) -> Any:
    """The variables with every `Uniform` drawn; other variables are unchanged."""
    is_uniform = lambda leaf: isinstance(leaf, Uniform)
    leaves, tree = jax.tree.flatten(variables, is_leaf=is_uniform)
    sizes = [leaf.value.size if is_uniform(leaf) else 0 for leaf in leaves]
    ends = np.cumsum(sizes)
    draw = jax.random.uniform(key, (sum(sizes),), minval=-1, maxval=1)
    for i, leaf in enumerate(leaves):
        if is_uniform(leaf):
            own = draw[ends[i] - sizes[i] : ends[i]].astype(leaf.value.dtype)
            leaves[i] = leaf.bound * own.reshape(leaf.value.shape)
    return jax.tree.unflatten(tree, leaves)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def standardise(x: Array, axis_name: str | None) -> tuple[Array, Array, Array]:
    """The triple (x - m) / sqrt(v + 1e-5), m, v for x [H, C, W, B].

    The moments m and v are [C], two-pass and biased, and include the mapped axis. The
    derivative is the closed form  dy = r (dx - E dx - y E[y dx]),  r = 1 / sqrt(v +
    1e-5). It equals its transpose, and takes two sums and one pass over the map.
    """
    m = _mean(x, axis_name)
    centred = x - _channelwise(m)
    v = _mean(jnp.square(centred), axis_name)
    return centred * _channelwise(lax.rsqrt(v + 1e-5)), m, v


@standardise.defjvp
def _standardise_jvp(axis_name, primals, tangents):
    (x,), (dx,) = primals, tangents
    y, m, v = standardise(x, axis_name)
    r = lax.rsqrt(v + 1e-5)
    dm, along = _mean(dx, axis_name), _mean(y * dx, axis_name)
    dy = (dx - _channelwise(dm) - y * _channelwise(along)) * _channelwise(r)
    return (y, m, v), (dy, dm, 2 * along / r)


def _mean(x: Array, axis_name: str | None) -> Array:
    mean = x.mean((0, 2, 3))
    return lax.pmean(mean, axis_name) if axis_name else mean


def _channelwise(v: Array) -> Array:
    return v[None, :, None, None]


def wide(x: Array) -> Array:
    """x in the precision of moments and logits: float32 at least."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


class BatchNorm(nn.Module):
    """PyTorch's batch norm: eps 1e-5, momentum 0.1, two-pass variance.

    It normalises by the biased variance and stores the unbiased one.
    """

    style: Style
    affine: bool | None = None  # None: not style.search

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        width = x.shape[1:2]
        mean = self.variable("batch_stats", "mean", jnp.zeros, width)
        var = self.variable("batch_stats", "var", jnp.ones, width)
        if train:
            axis = None if self.is_initializing() else self.style.axis_name
            y, m, v = standardise(wide(x), axis)
            if not self.is_initializing():
                count = x.size // x.shape[1] * (lax.axis_size(axis) if axis else 1)
                unbiased = v * (count / max(count - 1, 1))
                mean.value = 0.9 * mean.value + 0.1 * lax.stop_gradient(m)
                var.value = 0.9 * var.value + 0.1 * lax.stop_gradient(unbiased)
        else:
            y = (wide(x) - _channelwise(mean.value)) * _channelwise(
                lax.rsqrt(var.value + 1e-5)
            )
        affine = not self.style.search if self.affine is None else self.affine
        if affine:
            scale = self.param("scale", nn.initializers.ones, width)
            bias = self.param("bias", nn.initializers.zeros, width)
            y = y * _channelwise(scale) + _channelwise(bias)
        return y.astype(x.dtype)


class Conv(nn.Module):
    """Dense convolution without bias."""

    features: int
    style: Style
    kernel: int = 1
    stride: int = 1
    pad: int = 0

    @nn.compact
    def __call__(self, x: Array) -> Array:
        k, channels = self.kernel, x.shape[1]
        init = uniform_fan_in(k * k * channels)
        kernel = self.param("kernel", init, (k, k, channels, self.features))
        return lowering.convolution(
            x, kernel.astype(x.dtype), self.stride, self.pad, self.style.spelling
        )


class DepthwiseConv(nn.Module):
    """Depthwise k x k convolution without bias."""

    kernel: int
    style: Style
    stride: int = 1
    dilation: int = 1

    @nn.compact
    def __call__(self, x: Array) -> Array:
        k = self.kernel
        kernel = self.param("kernel", uniform_fan_in(k * k), (k, k, x.shape[1]))
        kernel = kernel.astype(x.dtype)
        return lowering.depthwise(
            x, kernel, self.stride, self.dilation, self.style.spelling
        )


class Linear(nn.Module):
    """Linear layer with PyTorch's initial values."""

    features: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        init = uniform_fan_in(x.shape[-1])
        kernel = self.param("kernel", init, (x.shape[-1], self.features))
        return x @ kernel + self.param("bias", init, (self.features,))[None]


class ReLUConvBN(nn.Module):
    """ReLU, convolution, batch norm; with 1x1 the preprocessing of a cell's input."""

    features: int
    style: Style
    kernel: int = 1
    stride: int = 1
    affine: bool | None = None  # of the batch norm

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        pad = self.kernel // 2
        conv = Conv(self.features, self.style, self.kernel, self.stride, pad)
        return BatchNorm(self.style, self.affine)(conv(nn.relu(x)), train)


class ResidualBlock(nn.Module):
    """Halves the map: two 3x3 ReLU-conv-BN, plus a pool and a 1x1 convolution.

    NAS-Bench-201 has this block between its stages. The pool is a 2x2 average. On odd
    maps its last windows are averages of the pixels inside the map.
    """

    features: int
    style: Style

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        y = x
        for stride in (2, 1):
            y = ReLUConvBN(self.features, self.style, 3, stride, affine=True)(y, train)
        odd = ((0, x.shape[0] % 2), (0, 0), (0, x.shape[2] % 2), (0, 0))
        even = jnp.pad(x, odd, mode="edge")
        height, channels, width, batch = even.shape
        quads = even.reshape(height // 2, 2, channels, width // 2, 2, batch)
        return y + Conv(self.features, self.style)(quads.mean((1, 4)))


class FactorizedReduce(nn.Module):
    """Halves the map: two strided 1x1 convolutions, concatenated.

    The second convolution sees the map shifted by one row and one column. On odd maps
    the shifted map is padded with zeros, so both results have side ceil(n / 2).
    """

    features: int
    style: Style

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        x = nn.relu(x)
        odd = ((0, x.shape[0] % 2), (0, 0), (0, x.shape[2] % 2), (0, 0))
        shifted = jnp.pad(x, odd)[1:, :, 1:]
        half = self.features // 2
        halves = [
            Conv(half, self.style, stride=2, name=f"conv_{i}")(view)
            for i, view in ((1, x), (2, shifted))
        ]
        return BatchNorm(self.style)(jnp.concatenate(halves, 1), train)
