"""SANAS: an architecture whose saliency maps make a second network learn better.

Hosseini and Xie, "Saliency-Aware Neural Architecture Search", NeurIPS 2022; the numbers
are those of its supplement, appendix B. Two networks share alpha; with x, t the
training batch:

    (1) W1'    = W1 - xi grad L_train(W1, alpha)
    (2) delta' = delta + xi_delta grad_delta l(f(x + delta; W1', alpha), f(x; W1', alpha))
    (3) W2'    = W2 - xi grad L_train(W2, alpha) on the images delta' * x
    (4) alpha <- Adam(alpha, d [L_val(W2', alpha) + gamma L_val(W1', alpha)] / d alpha)

All of (1) to (3) are recomputed from the current W1 and W2 for each step of alpha, and
differentiated through: alpha -> W1' -> delta' -> W2' and all direct paths (eqs. 5 to 19,
`hypergrad.chain`). The real W1 moves on every batch, W2 on every third on saliency found
by W1, alpha on every fifth. config.base is the search it is built on:

    darts_second: as above      darts_first: (4) at W1 and W2 as they are

Deviations:
  * delta is found by 7 steps of projected sign ascent (appendix M.1), whose sign and
    clipping have no derivative. So its value is that of `saliency.pgd`, and its derivative
    that of eq. 2 there: delta' = PGD + xi_delta (g - stop_gradient(g)), with g the
    gradient of the sum of l over the images. xi_delta is not given: PGD's step over the mean of
    |g|, taken as constant, or `saliency.rate`. `saliency.ascent = "gradient"` is eq. 2
    literally, `saliency.detach` cuts the path through delta.
  * delta starts at random for every batch, because its gradient at 0 is 0 where l is a
    divergence from f(x), and is not stored. In units of pixels; under PGD x + delta stays
    a pixel.
  * The look-ahead takes a training batch of its own, as all searches here do.
  * Both networks have the same learning rate at the same time, by W1's steps.
  * Losses are means; eq. 3 has a sum, which `sum` takes.
  * As in DARTS' code the virtual steps have momentum and weight decay and do not clip.
    All passes use the moments of their batch in batch norm, those of an attack too.
  * Products are exact; `finite_difference` of the base takes the paper's differences,
    level by level (eq. 6).
  * gamma is tuned on CIFAR-100 over 0.1, 0.5, 1, 2, 3; the choice is not given. It is 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from nasjax import hypergrad, inputs, optim, parallel, saliency
from nasjax.hypergrad import Level, descend, products
from nasjax.keys import derive
from nasjax.search.base import (
    Cadence,
    Further,
    Network,
    Problem,
    Search,
    SearchState,
    bilevel,
    initial,
    trained,
    with_state,
)
from nasjax.search.directions import FORWARD, gradient
from nasjax.search.losses import losses

INPUT = 2 / 3  # cost of a gradient in the image alone
ASCENTS = ("pgd", "gradient")


def build(problem: Problem, settings) -> Search:
    """settings: gamma, second_every, sum; and those of the base under its name."""
    inputs.choice(problem.base, "config.base", "darts_first", "darts_second")
    own = settings[problem.base]
    how, supernet = problem.saliency, losses(problem)
    unroll = problem.base == "darts_second"
    differences = unroll and own.finite_difference
    of_weights = of_delta = products.along
    if differences:
        of_weights = hypergrad.finite_difference.along()
        of_delta = hypergrad.finite_difference.along(norm=_norm(problem.axis))

    def logits(w, arch, batch, images):
        return supernet.outputs(w, arch, {**batch, "image": images}).logits

    def second_loss(w, arch, batch):
        value, aux = supernet.with_aux(w, arch, batch)
        count = parallel.whole(len(batch["label"]), problem.axis)
        return (value * count if settings.sum else value), aux

    def on_reweighted(batch, delta):
        return batch | {
            "image": saliency.reweighted(
                batch["image"], delta, how.mode, problem.attack.eps
            )
        }

    def first_level(solutions, arch, batch):
        return supernet.train(solutions["w1"], arch, batch)

    def third_level(solutions, arch, batch):
        batch = on_reweighted(batch, solutions["saliency"])
        return second_loss(solutions["w2"], arch, batch)[0]

    def objective(solutions, arch, batch):
        second = supernet.val(solutions["w2"], arch, batch)
        return second + settings.gamma * supernet.val(solutions["w1"], arch, batch)

    # The optimisers count their own steps, of which the second network takes fewer.
    second_rate = lambda count: problem.rate(count * settings.second_every)
    virtual = lambda rate: problem.sgd(rate, clip=False)  # takes the live state
    attacked = lambda **more: saliency_level(
        logits, problem.attack, how.labels, how.ascent, how.rate, axis=problem.axis, **more
    )  # fmt: skip
    levels = [
        descend("w1", first_level, virtual(problem.rate), of_weights),
        attacked(detach=how.detach, along=of_delta),
        descend("w2", third_level, virtual(second_rate), of_weights),
    ]
    found = attacked(detach=True)
    cost = attack_cost(problem.attack, how.ascent)

    def solution(state: SearchState, batch):
        delta = saliency.start(batch["image"], batch["key"], problem.attack)
        w = {"w1": state.w, "saliency": delta, "w2": state.second.w}
        return w, {"w1": state.weight_opt, "w2": state.second.opt}

    if unroll:
        # g of f(x + delta) and f(x), and a product; eq. 2 has no other ascent.
        through = 0 if how.detach else 3 * (1 + FORWARD)
        before = 0 if through and how.ascent == "gradient" else cost
        estimator = dataclasses.replace(
            hypergrad.chain(levels, objective),
            name=_name(how, differences),
            # W1 and W2 as in `unrolled`, and two validation losses.
            cost=3 + 3 + 2 + before + through,
        )
    else:
        first = hypergrad.first_order(objective)
        estimator = dataclasses.replace(first, name="sanas_first_order", cost=2)

    def second_step(state: SearchState, batch):
        batch = with_state(
            problem, batch, state, derive(state.key, "second mix", state.step)
        )
        w, _ = solution(state, batch)
        delta = found.update(w, state.arch, batch, None)
        batch = on_reweighted(batch, delta) | {"batch_stats": state.second.batch_stats}
        network, metrics = trained(
            second_loss, problem.sgd(second_rate), state.second, state.arch, batch
        )
        return state._replace(second=network), {
            f"second_{name}": value for name, value in metrics.items()
        }

    adam = optim.adam(own.rate, own.b1, own.b2, own.weight_decay)
    direction = gradient(estimator, adam, solution)
    search = bilevel(problem, direction, problem.cadence(own.every))

    def init(key: Array) -> SearchState:
        second: Network = initial(problem, derive(key, "second weights"))
        return search.init(key)._replace(second=second)

    further = Further(
        "second", second_step, Cadence(0, settings.second_every), 1 + cost
    )
    return search._replace(init=init, further=(further,))


def saliency_level(
    logits: Callable,
    attack: saliency.Attack,
    labels: bool = False,
    ascent: str = "pgd",
    rate: float = 0.0,
    detach: bool = False,
    along: Callable = products.along,
    axis: str | None = None,
) -> Level:
    """The level "saliency": delta of the network "w1" on the training images.

    Its value so far is where the attack starts. Under "pgd" its derivative is not that of
    its value, so `hypergrad.check` of a chain through it disagrees, as it should.

    Args:
      logits: (w, arch, batch, images) -> [B, classes].
      attack: of which `steps` and `step` are not used by ascent "gradient".
      labels: attack the true labels in the place of what the network says of x.
      ascent: "pgd", with eq. 2's derivative; or "gradient", eq. 2 itself.
      rate: xi_delta; 0: attack.step over the mean of |g|.
      detach: delta as a constant.
      along: how second derivatives are taken, see `hypergrad.descend`.
      axis: mapped axis that the batch is split over.
    """

    def divergence(delta, others, batch):
        w, arch = others
        moved = saliency.perturbed(batch["image"], delta, attack)
        out = logits(w, arch, batch, moved)
        aim = batch.get("target")
        if aim is None:
            aim = target_of(w, arch, batch)
        return parallel.mean(saliency.divergence(out, aim), axis)

    def target_of(w, arch, batch):
        label = batch["label"] if labels else None
        return saliency.target(logits(w, arch, batch, batch["image"]), label)

    slope = products.gradient(divergence, along)
    plain = jax.grad(divergence)

    def level(solutions, arch, train_batch, opt_state):
        del opt_state
        batch, images, delta = train_batch, train_batch["image"], solutions["saliency"]
        others = (solutions["w1"], arch)

        def gradients(delta):
            """g of eq. 2, of the sum over the images, and xi_delta."""
            g = slope(delta, others, train_batch) * len(images)
            size = lax.stop_gradient(parallel.mean(abs(g).mean(), axis))
            usual = attack.step / jnp.where(size > 0, size, 1)
            return g, rate or usual

        if ascent == "gradient":
            g, xi = gradients(delta)
            found = delta + xi * g
            return lax.stop_gradient(found) if detach else found
        fixed = lax.stop_gradient(others)
        batch = batch | {"target": target_of(*fixed, batch)}  # once, not in each step
        found = saliency.pgd(
            lambda delta: plain(delta, fixed, batch), images, delta, attack
        )
        found = lax.stop_gradient(found)
        if detach:
            return found
        g, xi = gradients(found)
        return found + xi * (g - lax.stop_gradient(g))

    return Level("saliency", level)


def attack_cost(attack: saliency.Attack, ascent: str = "pgd") -> float:
    """Of finding delta, in evaluations of one batch's gradient."""
    steps = attack.steps if ascent == "pgd" else 1
    return steps * INPUT + FORWARD


def _name(how, differences: bool) -> str:
    parts = ["sanas", "unrolled"]
    parts += ["finite_difference"] * differences
    parts += ["detached"] * how.detach + ["gradient"] * (how.ascent == "gradient")
    return "_".join(parts)


def _norm(axis: str | None) -> Callable:
    """The norm of an array that every device has a part of."""
    square = lambda v: jnp.sum(jnp.square(v))
    return lambda v: jnp.sqrt(lax.psum(square(v), axis) if axis else square(v))
