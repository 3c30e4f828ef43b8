"""SANAS: an architecture whose saliency maps make a second network learn better.

Hosseini and Xie, "Saliency-Aware Neural Architecture Search", NeurIPS 2022; the values
of the settings are from appendix B of its supplement. Two networks share alpha; with
x, t the training batch:

    (1) W1'    = W1 - xi grad L_train(W1, alpha)
    (2) delta' = delta + xi_delta grad_delta l(f(x + delta; W1', alpha), f(x; W1', alpha))
    (3) W2'    = W2 - xi grad L_train(W2, alpha) on the images delta' * x
    (4) alpha <- Adam(alpha, d [L_val(W2', alpha) + gamma L_val(W1', alpha)] / d alpha)

Each step of alpha computes (1) to (3) from the current W1 and W2 and differentiates
through them: alpha -> W1' -> delta' -> W2' and all direct paths (eqs. 5 to 19,
`hypergrad.chain`). W1 itself moves on every batch, W2 on every third batch, with
saliency found by W1, and alpha on every fifth batch. The underlying search selects the
derivative:

    darts_second+sanas: as above      darts_first+sanas: (4) at the current W1 and W2

Deviations:
  * delta is found by 7 steps of projected sign ascent (appendix M.1). Its sign and
    clipping have no derivative. So the value of delta' is the result of `saliency.pgd`,
    and its derivative is the derivative of eq. 2 at that result:
    delta' = PGD + xi_delta (g - stop_gradient(g)), with g the gradient of the sum of l
    over the images. The paper does not give xi_delta. Here it is PGD's step divided by
    the mean of |g|, taken as constant, or `saliency.rate`. `saliency.ascent =
    "gradient"` takes eq. 2 literally; `saliency.detach` cuts the path through delta.
  * delta starts at random for every batch, because its gradient at 0 is 0 where l is a
    divergence from f(x). delta is not stored between batches. It is in units of pixels;
    with PGD, x + delta stays in the range of pixels.
  * The look-ahead takes a separate training batch, as in all searches here.
  * Both networks have the same learning rate at the same time, by the steps of W1.
  * Losses are means over the batch. Eq. 3 has a sum, which `sum` selects.
  * As in DARTS' code, the virtual steps have momentum and weight decay and do not clip
    the gradient. In all passes, including those of an attack, batch norm uses the
    moments of the batch.
  * Products are exact. `finite_difference` of the underlying search takes the paper's
    finite differences, level by level (eq. 6).
  * The paper tunes gamma on CIFAR-100 over 0.1, 0.5, 1, 2, 3 and does not give the
    choice. Here gamma is 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from nasjax import hypergrad, saliency
from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.core.limits import Limit, at_least
from nasjax.hypergrad import Level, descend, products
from nasjax.saliency import Attack
from nasjax.search.assemble import in_order
from nasjax.search.base import Algorithm, Cadence, Program, SearchState
from nasjax.search.bilevel import Bilevel, trained
from nasjax.search.directions import FORWARD, Descent
from nasjax.search.saliency_level import attack_cost, saliency_level


def settings(scale: str) -> dict[str, Any]:
    """The default settings of the further levels; the attack has `config.saliency`."""
    del scale
    return {
        "every": 5,  # weight steps between two moves of alpha, instead of the base's
        "gamma": 1.0,  # weight of the first network's validation loss
        "w2_every": 3,  # weight steps between two steps of the second network
        "sum": False,  # True: W2's loss is the sum over the batch, as eq. 3 is printed
    }


LIMITS: dict[str, Limit] = {
    "every": at_least(1),
    "gamma": at_least(0.0),
    "w2_every": at_least(1),
}


def build(settings, base: Algorithm) -> Algorithm:
    """Adds the levels to DARTS of first or second order.

    Raises:
      UserError: alpha moves in another way.
    """
    under = base.direction
    if not isinstance(under, Descent) or not under.order:
        raise UserError(
            "sanas extends DARTS of first or second order, but this search moves alpha "
            "in another way; give darts_first+sanas or darts_second+sanas."
        )

    def objective(problem: Bilevel) -> Callable:
        """The objective of eq. 4."""
        if problem.task.pixels is None:
            raise UserError(
                "sanas reweights images, and this search is on data of another kind; "
                "leave it out of --config.algorithm."
            )

        def loss(solutions, arch, batch):
            second = problem.val(solutions["w2"], arch, batch)
            return second + settings.gamma * problem.clean(solutions["w1"], arch, batch)

        return loss

    def estimator(problem: Bilevel):
        if under.order == 1:
            first = hypergrad.first_order(objective(problem))
            return dataclasses.replace(first, name="sanas_first_order", cost=2)
        levels = _levels(problem, settings, under.differences)
        return dataclasses.replace(
            hypergrad.chain(levels, objective(problem)),
            name=_name(settings.saliency, under.differences),
            cost=_cost(problem, settings),
        )

    def solution(problem: Bilevel, state: SearchState, batch):
        delta = saliency.start(batch["image"], batch["key"], attack(problem, settings))
        second = state.levels["w2"]
        w = {"w1": state.w, "saliency": delta, "w2": second.w}
        return w, {"w1": state.weight_opt, "w2": second.opt}

    def levels(problem: Bilevel, smooth: Callable) -> tuple[Program, ...]:
        cost = 1 + attack_cost(attack(problem, settings), settings.saliency.ascent)
        second = Program(
            "w2",
            _w2_step(problem, settings, solution, smooth),
            in_order(),
            Cadence(0, settings.w2_every),
            cost,
            lambda key: problem.network(derive(key, "second weights")),
        )
        return (second,)

    direction = dataclasses.replace(under, estimator=estimator, solution=solution)
    return base._replace(direction=direction, every=settings.every, levels=levels)


def attack(problem: Bilevel, settings) -> Attack:
    """The attack that finds the saliency of normalised images."""
    how = settings.saliency
    return Attack(how.steps, how.eps, how.step, *(problem.task.pixels or ()))


def _levels(problem: Bilevel, settings, differences: bool) -> list[Level]:
    """Eqs. 1 to 3 with their derivatives, from the current states of the optimisers."""
    training, devices = problem.training, problem.devices
    of_weights, of_delta = products.along, products.along
    if differences:
        of_weights = hypergrad.finite_difference.along()
        of_delta = hypergrad.finite_difference.along(norm=devices.norm)
    loss = _w2_loss(problem, settings)

    def first_level(solutions, arch, batch):
        return problem.train(solutions["w1"], arch, batch)

    def third_level(solutions, arch, batch):
        mix = problem.relaxation.mix(arch, batch["at"])
        return loss(solutions["w2"], mix, batch, solutions["saliency"])[0]

    virtual = lambda rate: training.optimizer(rate, clip=False)
    third = virtual(_w2_rate(problem, settings))
    return [
        descend("w1", first_level, virtual(training.rate), of_weights),
        _attacked(problem, settings, settings.saliency.detach, of_delta),
        descend("w2", third_level, third, of_weights),
    ]


def _w2_step(problem: Bilevel, settings, solution: Callable, smooth: Callable):
    """The step of W2 itself, with saliency found by the current W1."""
    found = _attacked(problem, settings, detach=True)
    reweighted = _reweighted(settings)
    loss = _w2_loss(problem, settings)
    optimizer = problem.training.optimizer(_w2_rate(problem, settings))

    def step(state: SearchState, batch):
        key = derive(state.key, "second mix", state.step)
        batch = problem.placed(batch, state, key)
        solutions, _ = solution(problem, state, batch)
        delta = found.update(solutions, state.arch, batch, None)
        second = state.levels["w2"]
        batch = {**batch, "batch_stats": second.batch_stats}
        seen = {**batch, "image": reweighted(batch["image"], delta)}
        mix = smooth(
            problem.relaxation.mix(state.arch, batch["at"]),
            lambda mix: problem.eval_loss(second.w, mix, seen),
            derive(state.key, "second perturbation", state.step),
            batch["at"],
        )
        second, metrics = trained(
            lambda w, mix, batch: loss(w, mix, batch, delta),
            optimizer,
            second,
            mix,
            batch,
        )
        report = {f"w2_{name}": value for name, value in metrics.items()}
        return state._replace(levels={**state.levels, "w2": second}), report

    return step


def _w2_loss(problem: Bilevel, settings) -> Callable:
    """(w, mix, batch, delta) -> W2's loss on reweighted images, and aux (eq. 3)."""
    reweighted = _reweighted(settings)

    def loss(w, mix, batch, delta):
        image = reweighted(batch["image"], delta)
        value, aux = problem.with_aux(w, mix, {**batch, "image": image})
        if settings.sum:
            value *= problem.devices.global_size(len(image))
        return value, aux

    return loss


def _reweighted(settings) -> Callable:
    """(images, delta) -> the images that W2 learns."""
    mode, eps = settings.saliency.mode, settings.saliency.eps
    return lambda images, delta: saliency.reweighted(images, delta, mode, eps)


def _w2_rate(problem: Bilevel, settings) -> Callable:
    """W1's learning rate at the same time; W2's optimiser counts the steps of W2."""
    return lambda count: problem.training.rate(count * settings.w2_every)


def _attacked(
    problem: Bilevel, settings, detach: bool, along: Callable = products.along
) -> Level:
    how = settings.saliency

    def logits(w, arch, batch, images):
        return problem.outputs(w, arch, {**batch, "image": images}).logits

    return saliency_level(
        logits, attack(problem, settings), problem.devices, how.labels, how.ascent,
        how.rate, detach, along,
    )  # fmt: skip


def _cost(problem: Bilevel, settings) -> float:
    """The cost of a step of alpha through all levels, in gradients of one batch."""
    how = settings.saliency
    # g of f(x + delta) and f(x), and a product; ascent by eq. 2 costs nothing more.
    through = 0 if how.detach else 3 * (1 + FORWARD)
    before = attack_cost(attack(problem, settings), how.ascent)
    if through and how.ascent == "gradient":
        before = 0
    return 3 + 3 + 2 + before + through  # W1 and W2 as `unrolled`; L_val of both


def _name(how, differences: bool) -> str:
    parts = ["sanas", "unrolled"]
    parts += ["finite_difference"] * differences
    parts += ["detached"] * how.detach + ["gradient"] * (how.ascent == "gradient")
    return "_".join(parts)
