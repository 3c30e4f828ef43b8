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
  * l compares f(x + delta) with the class that the network predicts
    (`saliency.target = "predicted"`). As printed, "soft", its gradient at delta = 0 is
    0 and its ascent follows plus or minus one direction, as a random start decides.
  * W2 learns |delta| / eps * x (`saliency.mode = "scaled"`). As printed, "signed", the
    product has the arbitrary signs of delta; docs/saliency.md.
  * Eq. 2 is iterated 7 times in the ball of appendix M.1. The paper does not give
    xi_delta. Here it is the step of appendix M.1 divided by the image's mean |gradient|,
    taken as constant, or `saliency.rate`. The derivative is that of the last step.
    `saliency.ascent = "pgd"` is the sign ascent of appendix M.1. Sign and clipping have
    no derivative, so its derivative is the derivative of eq. 2 at its result:
    delta' = PGD + xi_delta (g - stop_gradient(g)), with g the gradient of the sum of l
    over the images. `saliency.detach` cuts the path through delta.
  * delta is not stored between batches: it starts at 0, with "soft" at random. It is in
    units of pixels, and x + delta stays in the range of pixels.
  * W2 is validated on images that W1' reweights, as it predicts in appendix C. Eq. 4
    as printed, `validate_reweighted = False`, validates it on whole images, which it
    has not learned.
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
        "validate_reweighted": True,  # W2's validation images; False: whole, as eq. 4
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

    def objective(problem: Bilevel, along: Callable = products.along) -> Callable:
        """The objective of eq. 4."""
        if problem.task.pixels is None:
            raise UserError(
                "sanas reweights images, and this search is on data of another kind; "
                "leave it out of --config.algorithm."
            )

        seen = _attacked(problem, settings, settings.saliency.detach, along)
        reweighted = _reweighted(settings)

        def loss(solutions, arch, batch):
            own = batch
            if settings.validate_reweighted:
                delta = seen.update(
                    first(problem, solutions["w1"], batch), arch, batch, None
                )
                own = {**batch, "image": reweighted(batch["image"], delta)}
            second = problem.val(solutions["w2"], arch, own)
            return second + settings.gamma * problem.clean(solutions["w1"], arch, batch)

        return loss

    def estimator(problem: Bilevel):
        if under.order == 1:
            found = hypergrad.first_order(objective(problem))
            cost = 2 + _validation_cost(problem, settings)
            return dataclasses.replace(found, name="sanas_first_order", cost=cost)
        along = (products.along, products.along)
        if under.differences:
            norm = problem.devices.norm
            differences = hypergrad.finite_difference.along
            along = differences(), differences(norm=norm)
        levels = _levels(problem, settings, *along)
        return dataclasses.replace(
            hypergrad.chain(levels, objective(problem, along[1])),
            name=_name(settings.saliency, under.differences),
            cost=_cost(problem, settings),
        )

    def first(problem: Bilevel, w, batch) -> dict[str, Any]:
        """The first network and the first delta."""
        delta = saliency.start(batch["image"], batch["key"], attack(problem, settings))
        return {"w1": w, "saliency": delta}

    def solution(problem: Bilevel, state: SearchState, batch):
        second = state.levels["w2"]
        w = {**first(problem, state.w, batch), "w2": second.w}
        return w, {"w1": state.weight_opt, "w2": second.opt}

    def levels(problem: Bilevel, smooth: Callable) -> tuple[Program, ...]:
        cost = 1 + attack_cost(attack(problem, settings))
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
    mean, std = problem.task.pixels or ((0.0,), (1.0,))
    return Attack.of(settings.saliency, mean, std)


def _levels(
    problem: Bilevel, settings, of_weights: Callable, of_delta: Callable
) -> list[Level]:
    """Eqs. 1 to 3 with their derivatives, from the current states of the optimisers."""
    training = problem.training
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
    def logits(w, arch, batch, images):
        return problem.outputs(w, arch, {**batch, "image": images}).logits

    return saliency_level(
        logits, attack(problem, settings), problem.devices, detach, along
    )


def _cost(problem: Bilevel, settings) -> float:
    """The cost of a step of alpha through all levels, in gradients of one batch."""
    levels = 3 + 3 + 2  # W1 and W2 as `unrolled`; L_val of both
    return levels + _through(problem, settings) + _validation_cost(problem, settings)


def _validation_cost(problem: Bilevel, settings) -> float:
    return settings.validate_reweighted * _through(problem, settings)


def _through(problem: Bilevel, settings) -> float:
    """The cost of delta and of its derivative."""
    how = attack(problem, settings)
    if settings.saliency.detach:
        return attack_cost(how)
    # g and a product; with the target "soft" also of f(x).
    last = 3 * (1 + FORWARD * (how.target == "soft"))
    return (
        attack_cost(how._replace(steps=how.steps - (how.ascent == "gradient"))) + last
    )


def _name(how, differences: bool) -> str:
    parts = ["sanas", "unrolled"]
    parts += ["finite_difference"] * differences
    parts += ["detached"] * how.detach + ["pgd"] * (how.ascent == "pgd")
    return "_".join(parts)
