"""Both spellings against the definition as loops over products, in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.maps import on_images, same, stacked

from nasjax.core.errors import UserError
from nasjax.nets import lowering

pytestmark = pytest.mark.usefixtures("float64")
SPELLINGS = ("conv", "shift")
DRAWS = np.random.default_rng(0)
DEPTHWISE = ("bc,c->bc", "bc,c->bc", "bc,bc->c")
DENSE = ("bc,cd->bd", "bd,cd->bc", "bc,bd->cd")


def normal(*shape):
    return DRAWS.normal(size=shape)


class Definition:
    """y[out] = sum of x[out * stride + at * dilation - pad] kernel[at], and its two
    transposes, as plain loops. `products` are the einsums over channels of the three."""

    def __init__(self, size, k, stride, dilation, pad, products):
        self.size, self.k, self.products = size, k, products
        self.out = [(n + 2 * pad - dilation * (k - 1) - 1) // stride + 1 for n in size]
        self.terms = []
        for out in np.ndindex(*self.out):
            for at in np.ndindex(k, k):
                pixel = [
                    o * stride + a * dilation - pad
                    for o, a in zip(out, at, strict=True)
                ]
                if all(0 <= p < n for p, n in zip(pixel, size, strict=True)):
                    self.terms.append((out, tuple(pixel), at))

    def value(self, x, kernel):
        y = 0
        for (i, j), (p, q), at in self.terms:
            one = np.einsum(self.products[0], x[:, p, q], kernel[at])
            y = y + np.zeros((len(x), *self.out, one.shape[-1]))
            y[:, i, j] += one
        return y

    def to_x(self, kernel, ct):
        x = np.zeros((len(ct), *self.size, kernel.shape[2]))
        for (i, j), (p, q), at in self.terms:
            x[:, p, q] += np.einsum(self.products[1], ct[:, i, j], kernel[at])
        return x

    def to_kernel(self, x, ct):
        shape = (x.shape[-1],) if self.products is DEPTHWISE else (x.shape[-1], 2)
        kernel = np.zeros((self.k, self.k, *shape))
        for (i, j), (p, q), at in self.terms:
            kernel[at] += np.einsum(self.products[2], x[:, p, q], ct[:, i, j])
        return kernel

    def everything(self, x, kernel, dx, dk, target):
        """The result of the function `everything` below, by bilinearity."""
        y = self.value(x, kernel)
        dy = self.value(dx, kernel) + self.value(x, dk)
        rest = y - target
        grads = self.to_x(kernel, rest), self.to_kernel(x, rest)
        curved = (
            self.to_x(kernel, dy) + self.to_x(dk, rest),
            self.to_kernel(x, dy) + self.to_kernel(dx, rest),
        )
        return {"value": (y, dy), "grads": grads, "hvp": curved}


def everything(f, x, kernel, dx, dk, target):
    """Value, jvp, vjp and Hessian-vector products of half the squared distance."""

    def loss(x, kernel):
        return 0.5 * jnp.square(f(x, kernel) - target).sum()

    value = jax.jvp(f, (x, kernel), (dx, dk))
    grads, hvp = jax.jvp(jax.grad(loss, (0, 1)), (x, kernel), (dx, dk))
    return {"value": value, "grads": grads, "hvp": hvp}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    ("k", "stride", "dilation", "size"),
    [
        *((*case, (7, 6)) for case in itertools.product((3, 5), (1, 2), (1, 2))),
        (5, 2, 2, (2, 3)),  # the kernel is larger than the map
        (3, 2, 1, (1, 4)),
    ],
)
def test_depthwise(k, stride, dilation, size, spelling):
    """Under a vmap over kernels with a shared input, as in the look-ahead."""
    pad = dilation * (k - 1) // 2
    definition = Definition(size, k, stride, dilation, pad, DEPTHWISE)
    assert definition.out == [-(-n // stride) for n in size]
    batch = 9 if 1 in size else 2
    x, dx = normal(batch, *size, 3), normal(batch, *size, 3)
    kernels, dks = normal(2, k, k, 3), normal(2, k, k, 3)
    target = normal(batch, *definition.out, 3)

    @on_images
    def f(x, kernel):
        return lowering.depthwise(x, kernel, stride, dilation, spelling)

    run = jax.vmap(lambda kernel, dk: everything(f, x, kernel, dx, dk, target))
    expected = [
        definition.everything(x, kernel, dx, dk, target)
        for kernel, dk in zip(kernels, dks, strict=True)
    ]
    same(jax.jit(run)(kernels, dks), stacked(expected))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_depthwise_under_other_transformations(spelling):
    """Under scan, under vmap over inputs and kernels together, reversed twice."""
    definition = Definition((5, 4), 3, 2, 1, 1, DEPTHWISE)
    x, dx = normal(2, 1, 5, 4, 2), normal(2, 1, 5, 4, 2)
    kernels, dks = normal(2, 3, 3, 2), normal(2, 3, 3, 2)
    many = (x, kernels, dx, dks, normal(2, 1, 3, 2, 2))
    expected = stacked([definition.everything(*one) for one in zip(*many, strict=True)])

    @on_images
    def f(x, kernel):
        return lowering.depthwise(x, kernel, 2, 1, spelling)

    run = lambda *one: everything(f, *one)
    same(jax.jit(jax.vmap(run))(*many), expected)
    scan = jax.jit(lambda many: jax.lax.scan(lambda _, one: (0, run(*one)), 0, many))
    same(scan(tuple(map(jnp.asarray, many)))[1], expected)

    def slope(x, kernel, dx, dk, target):
        loss = lambda x, kernel: 0.5 * jnp.square(f(x, kernel) - target).sum()
        gx, gk = jax.grad(loss, (0, 1))(x, kernel)
        return (gx * dx).sum() + (gk * dk).sum()

    twice = jax.jit(jax.vmap(jax.grad(slope, (0, 1))))
    same(twice(*many), expected["hvp"])


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    ("k", "stride", "pad", "size"),
    [
        (1, 1, 0, (3, 4)),
        (1, 2, 0, (5, 4)),
        (3, 1, 1, (4, 5)),  # the stem
        (3, 2, 1, (5, 4)),  # the ImageNet stem
        (2, 1, 0, (2, 2)),  # the auxiliary head
    ],
)
def test_convolution(k, stride, pad, size, spelling):
    definition = Definition(size, k, stride, 1, pad, DENSE)
    x, dx = normal(2, *size, 3), normal(2, *size, 3)
    kernels, dks = normal(2, k, k, 3, 2), normal(2, k, k, 3, 2)
    target = normal(2, *definition.out, 2)

    @on_images
    def f(x, kernel):
        return lowering.convolution(x, kernel, stride, pad, spelling)

    run = jax.vmap(lambda kernel, dk: everything(f, x, kernel, dx, dk, target))
    expected = [
        definition.everything(x, kernel, dx, dk, target)
        for kernel, dk in zip(kernels, dks, strict=True)
    ]
    same(jax.jit(run)(kernels, dks), stacked(expected))


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_type_of_the_input_is_kept(dtype, spelling):
    x = jax.ShapeDtypeStruct((4, 2, 4, 1), dtype)
    kernel = jax.ShapeDtypeStruct((3, 3, 2), dtype)
    dense = jax.ShapeDtypeStruct((3, 3, 2, 5), dtype)
    outs = (
        jax.eval_shape(
            lambda x, k: lowering.depthwise(x, k, 2, 1, spelling), x, kernel
        ),
        jax.eval_shape(
            lambda x, k: lowering.convolution(x, k, 2, 1, spelling), x, dense
        ),
        jax.eval_shape(lambda x: lowering.max_pool(x, 2, spelling), x),
        jax.eval_shape(lambda x: lowering.avg_pool(x, 2, spelling), x),
    )
    assert {out.dtype for out in outs} == {jnp.dtype(dtype)}
    assert {out.shape[::2] for out in outs} == {(2, 2)}


def test_resolve():
    assert lowering.resolve("auto") == "shift"
    assert [lowering.resolve(spelling) for spelling in SPELLINGS] == list(SPELLINGS)
    with pytest.raises(UserError, match="'shifts'; did you mean 'shift'"):
        lowering.resolve("shifts")
