"""Exact products with second derivatives. No matrix is formed.

A product costs about two gradient evaluations: the forward-mode derivative of a
reverse-mode gradient. It takes the memory of a gradient and its tangent.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from nasjax.core import arguments


def hvp(loss: Callable, w, arch, batch, v) -> Any:
    """D_w^2 loss . v, a pytree like w: the Hessian of the loss times v.

    Args:
      loss: (w, arch, batch) -> scalar.
      v: a pytree like w.

    Raises:
      TypeError: a leaf of w is not floating point; the loss is not a scalar.
      ValueError: v is not like w.

    >>> float(hvp(lambda w, a, batch: a * w**3, 2.0, 5.0, None, 1.0))  # 6 a w
    60.0
    """
    gradient = jax.grad(arguments.scalar(loss, "loss"))
    return jax.jvp(lambda w: gradient(w, arch, batch), (w,), (_tangent(v, w),))[1]


def mixed_vjp(loss: Callable, w, arch, batch, v) -> Any:
    """(d2 loss / d arch d w) . v, a pytree like arch.

    Computed as the derivative of grad_arch loss along v, in w.

    Raises:
      TypeError: a leaf of w or arch is not floating point; the loss is not a scalar.
      ValueError: v is not like w.

    >>> float(mixed_vjp(lambda w, a, batch: a**2 * w, 2.0, 5.0, None, 1.0))  # 2 a
    10.0
    """
    arguments.floating(arch, "arch")
    gradient = jax.grad(arguments.scalar(loss, "loss"), 1)
    return jax.jvp(lambda w: gradient(w, arch, batch), (w,), (_tangent(v, w),))[1]


def ggn(outputs: Callable, loss_of_outputs: Callable) -> Callable:
    """The generalised Gauss-Newton curvature J' H_out J, to use instead of `hvp`.

    J is the Jacobian of the outputs in w and H_out the Hessian of the loss in the
    outputs. Where the loss is convex in the outputs (cross-entropy, squared error) the
    matrix is positive semi-definite, even where the Hessian is not. A product costs a
    little less than a product with the Hessian. Schraudolph, "Fast Curvature
    Matrix-Vector Products for Second-Order Gradient Descent", 2002.

    Args:
      outputs: (w, arch, batch) -> pytree, such as logits.
      loss_of_outputs: (outputs, batch) -> scalar.

    Returns:
      (loss, w, arch, batch, v) -> a pytree like w; the loss is not used.

    >>> curvature = ggn(lambda w, a, x: w**2 * x, lambda z, x: z**2)
    >>> float(curvature(None, 3.0, None, 1.0, 1.0))  # (2 w)^2 . 2
    72.0
    """

    def curvature(loss, w, arch, batch, v):
        del loss
        run = lambda w: outputs(w, arch, batch)
        _, d_out = jax.jvp(run, (w,), (_tangent(v, w),))
        out, pull = jax.vjp(run, w)
        of_outputs = jax.grad(arguments.scalar(loss_of_outputs, "loss_of_outputs"))
        _, pushed = jax.jvp(lambda z: of_outputs(z, batch), (out,), (d_out,))
        return pull(pushed)[0]

    curvature.__name__ = "ggn"
    return curvature


def _tangent(v, w):
    """v in the dtypes of w, as jvp requires."""
    arguments.floating(w, "w")
    arguments.like(v, w, "v", "w")
    return jax.tree.map(lambda v, w: jnp.asarray(v, jnp.result_type(w)), v, w)


def along(f: Callable, x, v) -> Any:
    """The derivative of f at x along v, exact; `finite_difference.along` approximates."""
    return jax.jvp(f, (x,), (v,))[1]


def gradient(loss: Callable, along: Callable = along) -> Callable:
    """(x, others, batch) -> grad_x loss, with a cheap reverse-mode derivative.

    The Hessian is symmetric, so a cotangent c of the gradient is pulled back by
    pushing it forward: (D_x^2 loss . c, D_others D_x loss . c) is the derivative of
    grad_{x, others} loss along c. This stores nothing, while reverse mode over reverse
    mode would keep all intermediate values of the gradient.

    Args:
      loss: (x, others, batch) -> scalar. Leaves that are not floating point must be in
        the batch. The floating-point leaves of the batch, and arrays that the loss
        closes over, may be differentiated too.
      along: (f, x, v) -> the derivative of f at x along v.
    """

    def grad_x(x, others, batch):
        converted, closed = jax.closure_convert(loss, x, others, batch)
        leaves, structure = jax.tree.flatten(batch)
        smooth = [
            jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves
        ]
        fixed = [None if s else leaf for s, leaf in zip(smooth, leaves, strict=True)]
        moving = [leaf if s else None for s, leaf in zip(smooth, leaves, strict=True)]

        def explicit(x, others, fixed):
            others, moving, closed = others
            both = zip(smooth, moving, fixed, strict=True)
            batch = jax.tree.unflatten(structure, [m if s else f for s, m, f in both])
            return converted(x, others, batch, *closed)

        return _gradient(explicit, along, x, (others, moving, closed), fixed)

    return grad_x


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gradient(loss: Callable, along: Callable, x, others, batch):
    return jax.grad(loss)(x, others, batch)


def _forward(loss: Callable, along: Callable, x, others, batch):
    return jax.grad(loss)(x, others, batch), (x, others, batch)


def _backward(loss: Callable, along: Callable, kept, c):
    x, others, batch = kept
    both = jax.grad(loss, (0, 1))
    to_x, to_others = along(lambda x: both(x, others, batch), x, c)
    return to_x, to_others, None


_gradient.defvjp(_forward, _backward)
