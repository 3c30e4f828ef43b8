"""Perturbations of the mixing weights in the weight step (SmoothDARTS).

Chen and Hsieh, "Stabilizing Differentiable Architecture Search via Perturbation-based
Regularization", ICML 2020, arXiv 2002.05283, sections 3.2 and 3.3, and its code.

    Perturbation = (loss_of_mix, mix, key, eps) -> mix

A perturbation replaces the mixing weights A of the weight step by A + delta, which
trains w to do well around A. Steps of alpha and look-aheads use A itself. mix is any
pytree of arrays whose last axis indexes the operators of an edge. eps is a number and
may be traced; eps = 0 returns mix. The result is a constant for differentiation:
compute it with w held fixed, before the gradient in w is taken.

    RS   delta ~ U[-eps, eps]                                                    (eq. 3)
    ADV  delta <- P(delta + lr grad L_train(w, A + delta)), repeated             (eq. 4)

P is the projection onto the ball |delta| <= eps. As in the released code, P is followed
by `project_simplex`, or by `project_box` where weights need not sum to 1. The paper does
not mention this step, after which an entry may lie slightly outside the ball.

Deviations:
  * Only weights of operators are perturbed, not the weight of an edge.
  * The attack is discarded if its loss is below the clean loss, as in the released
    code, or is not a number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from nasjax.core import arguments
from nasjax.core.trees import ravel

Perturbation = Callable[[Callable, Any, Array, Any], Any]
Projection = Callable[[Any], Any]


def project_simplex(mix: Any) -> Any:
    """Maps every row onto the simplex, as `clip` of the released code does.

    Entries are clamped to [0, 1] and divided by their sum. If the sum is 0, the entry
    that was the largest before becomes 1. The result is not the nearest point of the
    simplex.

    >>> print(project_simplex(jnp.array([[0.5, -0.2, 1.5], [-0.3, -0.1, -0.2]])))
    [[0.33333334 0.         0.6666667 ]
     [0.         1.         0.        ]]
    """

    def rows(m: Array) -> Array:
        kept = jnp.clip(m, 0, 1)
        total = kept.sum(-1, keepdims=True)
        largest = jax.nn.one_hot(m.argmax(-1), m.shape[-1], dtype=m.dtype)
        return jnp.where(total == 0, largest, kept / jnp.where(total == 0, 1, total))

    return jax.tree.map(rows, mix)


def project_box(mix: Any) -> Any:
    """Clamps every entry to [0, 1], for operators whose weights need not sum to 1."""
    return jax.tree.map(lambda m: jnp.clip(m, 0, 1), mix)


def uniform(project: Projection | None = project_simplex) -> Perturbation:
    """SDARTS-RS: delta ~ U[-eps, eps], an independent draw for every entry (eq. 3).

    Without `project` the mean loss of a quadratic is L(A) + eps^2 / 6 times the trace
    of its Hessian (eq. 6). The loss is not evaluated.

    Args:
      project: projection of the result; None for none.

    >>> mix = {"normal": jnp.full((14, 8), 1 / 8)}
    >>> noisy = uniform()(None, mix, jax.random.key(0), 0.03)["normal"]
    >>> bool(abs(noisy.sum(-1) - 1).max() < 1e-6), bool((noisy >= 0).all())
    (True, True)
    """
    return _noise(_box_draw, project)


def gaussian(project: Projection | None = project_simplex) -> Perturbation:
    """Like `uniform`, with delta ~ N(0, eps^2 / 3): the same variance, but no bound.

    Footnote 1 of the paper allows normal noise and gives no variance. With this
    variance eq. 6 holds unchanged.
    """
    return _noise(lambda *at: jax.random.normal(*at) / 3**0.5, project)


def pgd(
    steps: int = 7,
    step_size: float | None = None,
    norm: str = "linf",
    steepest: bool = True,
    random_start: bool = True,
    project: Projection | None = project_simplex,
    revert: bool = True,
) -> Perturbation:
    """SDARTS-ADV: projected gradient ascent on the loss (eq. 4).

    It evaluates `steps` gradients of loss_of_mix and, with `revert`, two values.
    loss_of_mix should be the training loss in evaluation mode, on the batch of the
    weight step.

    Args:
      steps: number of ascent steps. The paper finds that 1 costs little performance.
      step_size: size of a step in units of eps. None: 2 / steps, as in the released
        code; from every point of the l_inf ball every corner can then be reached.
      norm: norm of the ball. "linf" bounds every entry. "l2" bounds mix as one vector,
        as in eq. 8, where H is the Hessian over all of A.
      steepest: True takes steps of length step_size eps in the direction of steepest
        ascent: sign(g) for "linf", as in the released code, and g / |g| for "l2".
        False takes steps step_size eps g, as eq. 4 is printed.
      random_start: True starts from a draw of `uniform`, projected into the ball; False
        starts from mix.
      project: projection of the start and of the result of every step; None for none.
      revert: True returns mix if mix has the larger loss.

    Raises:
      ValueError: a setting is out of its range.

    >>> mix, g = jnp.array([0.5, 0.3, 0.2]), jnp.array([1.0, -2.0, 0.5])
    >>> attack = pgd(project=None)
    >>> found = attack(lambda x: g @ x, mix, jax.random.key(0), 0.1)
    >>> [f"{weight:.2f}" for weight in found]
    ['0.60', '0.20', '0.30']
    """
    arguments.count(steps, "steps")
    step_size = 2 / steps if step_size is None else step_size
    arguments.positive(step_size, "step_size")
    arguments.choice(norm, "norm", "linf", "l2")
    into_ball = {"linf": _into_box, "l2": _into_sphere}[norm]
    ascent = {"linf": jnp.sign, "l2": lambda g: g / _norm(g)}[norm]

    def perturbation(loss_of_mix: Callable, mix, key: Array, eps):
        mix = lax.stop_gradient(mix)
        clean, projected, restore = _vector(mix, project)
        radius = jnp.asarray(eps, clean.dtype)
        gradient = jax.grad(lambda x: loss_of_mix(restore(x)))

        def moved(x, delta):
            return projected(clean + into_ball(x - clean + delta, radius))

        def step(x, _):
            g = gradient(x)
            return moved(x, step_size * radius * (ascent(g) if steepest else g)), None

        start = clean
        if random_start:
            draw = _box_draw(key, clean.shape, clean.dtype)
            start = moved(clean, radius * draw)
        found = restore(lax.scan(step, start, length=steps)[0])
        accept = radius > 0
        if revert:
            both = jax.tree.map(lambda *each: jnp.stack(each), found, mix)
            after, before = lax.map(loss_of_mix, both)
            accept &= after >= before
        return _either(accept, found, mix)

    return perturbation


def ramp(start: float, end: float) -> Callable:
    """progress -> eps = start + (end - start) progress, as in the released code.

    The paper raises eps linearly from 0.03 to 0.3. progress is epoch / epochs, with
    epochs counted from 0, so eps of the last epoch is one step below `end`.

    Raises:
      ValueError: start or end is negative or not finite.

    >>> [round(ramp(0.03, 0.3)(epoch / 50), 4) for epoch in (0, 25, 49)]
    [0.03, 0.165, 0.2946]
    """
    for value, name in ((start, "start"), (end, "end")):
        if not 0 <= value < float("inf"):
            raise ValueError(f"{name} is {value!r}; expected a finite eps, at least 0.")
    return lambda progress: start + (end - start) * progress


def _noise(draw: Callable, project: Projection | None) -> Perturbation:
    """The perturbation that adds eps * draw(key, shape, dtype)."""

    def perturbation(loss_of_mix, mix, key: Array, eps):
        del loss_of_mix
        mix = lax.stop_gradient(mix)
        clean, projected, restore = _vector(mix, project)
        radius = jnp.asarray(eps, clean.dtype)
        moved = projected(clean + radius * draw(key, clean.shape, clean.dtype))
        return _either(radius > 0, restore(moved), mix)

    return perturbation


def _vector(mix: Any, project: Projection | None) -> tuple[Array, Callable, Callable]:
    """The perturbed entries of mix as one vector [d], and two maps of such vectors.

    Returns:
      the vector;
      vector -> projected vector;
      vector -> a pytree like mix.
    """
    vector, restore = ravel(mix, "mix")
    if project is None:
        return vector, lambda x: x, restore
    return vector, lambda x: ravel(project(restore(x)))[0], restore


def _either(condition: Array, found: Any, mix: Any) -> Any:
    chosen = jax.tree.map(lambda a, b: jnp.where(condition, a, b), found, mix)
    return lax.stop_gradient(chosen)


def _box_draw(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    return jax.random.uniform(key, shape, dtype, -1, 1)


def _into_box(delta: Array, radius: Array) -> Array:
    return jnp.clip(delta, -radius, radius)


def _into_sphere(delta: Array, radius: Array) -> Array:
    return delta * jnp.minimum(1, radius / _norm(delta))


def _norm(vector: Array) -> Array:
    """The l2 norm, kept above 0 because it is a divisor."""
    return jnp.maximum(jnp.linalg.norm(vector), jnp.finfo(vector.dtype).tiny)
