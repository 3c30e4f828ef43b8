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

from jax import Array

from nasjax import hypergrad, saliency
from nasjax.core import arguments
from nasjax.core.keys import derive
from nasjax.engine import optim, parallel
from nasjax.hypergrad import Level, descend, products
from nasjax.search.algorithms.saliency_level import attack_cost, norm, saliency_level
from nasjax.search.base import (
    Cadence,
    Further,
    Problem,
    Search,
    SearchState,
    bilevel,
    initial,
    trained,
    with_state,
)
from nasjax.search.directions import FORWARD, gradient
from nasjax.search.losses import Losses, losses


def build(problem: Problem, settings) -> Search:
    """settings: gamma, second_every, sum; and those of the base under its name."""
    arguments.choice(problem.base, "config.base", "darts_first", "darts_second")
    own = settings[problem.base]
    supernet = losses(problem)

    def objective(solutions, arch, batch):
        """Eq. 4's."""
        second = supernet.val(solutions["w2"], arch, batch)
        return second + settings.gamma * supernet.val(solutions["w1"], arch, batch)

    def solution(state: SearchState, batch):
        delta = saliency.start(batch["image"], batch["key"], problem.attack)
        w = {"w1": state.w, "saliency": delta, "w2": state.second.w}
        return w, {"w1": state.weight_opt, "w2": state.second.opt}

    if problem.base == "darts_second":
        levels = _levels(problem, settings, supernet)
        estimator = dataclasses.replace(
            hypergrad.chain(levels, objective),
            name=_name(problem.saliency, own.finite_difference),
            cost=_cost(problem),
        )
    else:
        first = hypergrad.first_order(objective)
        estimator = dataclasses.replace(first, name="sanas_first_order", cost=2)
    adam = optim.adam(own.rate, own.b1, own.b2, own.weight_decay)
    direction = gradient(estimator, adam, solution)
    search = bilevel(problem, direction, problem.cadence(own.every))

    def init(key: Array) -> SearchState:
        second = initial(problem, derive(key, "second weights"))
        return search.init(key)._replace(second=second)

    step = _second_step(problem, settings, supernet, solution)
    cost = 1 + attack_cost(problem.attack, problem.saliency.ascent)
    further = Further("second", step, Cadence(0, settings.second_every), cost)
    return search._replace(init=init, further=(further,))


def _levels(problem: Problem, settings, supernet: Losses) -> list[Level]:
    """Eqs. 1 to 3 with their derivatives, from the live optimisers' states."""
    how, of_weights, of_delta = problem.saliency, products.along, products.along
    if settings.darts_second.finite_difference:
        of_weights = hypergrad.finite_difference.along()
        of_delta = hypergrad.finite_difference.along(norm=norm(problem.axis))
    loss = _second_loss(problem, settings, supernet)

    def first_level(solutions, arch, batch):
        return supernet.train(solutions["w1"], arch, batch)

    def third_level(solutions, arch, batch):
        return loss(solutions["w2"], arch, batch, solutions["saliency"])[0]

    virtual = lambda rate: problem.sgd(rate, clip=False)
    return [
        descend("w1", first_level, virtual(problem.rate), of_weights),
        _attacked(problem, supernet, detach=how.detach, along=of_delta),
        descend("w2", third_level, virtual(_second_rate(problem, settings)), of_weights),
    ]  # fmt: skip


def _second_step(problem: Problem, settings, supernet: Losses, solution: Callable):
    """The real step of W2, on saliency found by the real W1."""
    found = _attacked(problem, supernet, detach=True)
    loss = _second_loss(problem, settings, supernet)
    optimizer = problem.sgd(_second_rate(problem, settings))

    def step(state: SearchState, batch):
        mix_key = derive(state.key, "second mix", state.step)
        batch = with_state(problem, batch, state, mix_key)
        delta = found.update(solution(state, batch)[0], state.arch, batch, None)
        batch = {**batch, "batch_stats": state.second.batch_stats}
        network, metrics = trained(
            lambda w, arch, batch: loss(w, arch, batch, delta),
            optimizer, state.second, state.arch, batch,
        )  # fmt: skip
        report = {f"second_{name}": value for name, value in metrics.items()}
        return state._replace(second=network), report

    return step


def _second_loss(problem: Problem, settings, supernet: Losses) -> Callable:
    """(w, arch, batch, delta) -> W2's loss on reweighted images, and aux (eq. 3)."""
    mode, eps = problem.saliency.mode, problem.attack.eps

    def loss(w, arch, batch, delta):
        image = saliency.reweighted(batch["image"], delta, mode, eps)
        value, aux = supernet.with_aux(w, arch, {**batch, "image": image})
        if settings.sum:
            value *= parallel.whole(len(image), problem.axis)
        return value, aux

    return loss


def _second_rate(problem: Problem, settings) -> Callable:
    """W1's rate of the same time: W2's optimiser counts its own, fewer, steps."""
    return lambda count: problem.rate(count * settings.second_every)


def _attacked(problem: Problem, supernet: Losses, **more) -> Level:
    how = problem.saliency

    def logits(w, arch, batch, images):
        return supernet.outputs(w, arch, {**batch, "image": images}).logits

    return saliency_level(
        logits, problem.attack, how.labels, how.ascent, how.rate, axis=problem.axis,
        **more,
    )  # fmt: skip


def _cost(problem: Problem) -> float:
    """Of a step of alpha through all levels, likewise."""
    how = problem.saliency
    # g of f(x + delta) and f(x), and a product; eq. 2 has no other ascent.
    through = 0 if how.detach else 3 * (1 + FORWARD)
    before = attack_cost(problem.attack, how.ascent)
    if through and how.ascent == "gradient":
        before = 0
    return 3 + 3 + 2 + before + through  # W1 and W2 as `unrolled`; L_val of both


def _name(how, differences: bool) -> str:
    parts = ["sanas", "unrolled"]
    parts += ["finite_difference"] * differences
    parts += ["detached"] * how.detach + ["gradient"] * (how.ascent == "gradient")
    return "_".join(parts)
