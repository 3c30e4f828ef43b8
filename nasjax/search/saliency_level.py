"""The second level of SANAS: saliency of training images, with a derivative (eq. 2)."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import lax

from nasjax import saliency
from nasjax.engine.devices import Devices
from nasjax.hypergrad import Level, products
from nasjax.search.directions import FORWARD

INPUT = 2 / 3  # cost of a gradient with respect to the image alone
ASCENTS = ("pgd", "gradient")


def saliency_level(
    logits: Callable,
    attack: saliency.Attack,
    devices: Devices,
    labels: bool = False,
    ascent: str = "pgd",
    rate: float = 0.0,
    detach: bool = False,
    along: Callable = products.along,
) -> Level:
    """The level "saliency": delta of the network "w1" on the training images.

    The attack starts from the current delta. With ascent "pgd" the derivative of this
    level is not the derivative of its value, so `hypergrad.check` of a chain through it
    reports a disagreement, as expected.

    Args:
      logits: (w, arch, batch, images) -> [B, classes].
      attack: settings of the attack. Ascent "gradient" does not use `steps`, and uses
        `step` only if `rate` is 0.
      devices: the devices that the batch is split over.
      labels: True attacks the true labels instead of the network's prediction for x.
      ascent: "pgd", with the derivative of eq. 2; or "gradient", eq. 2 itself.
      rate: xi_delta; 0: attack.step divided by the mean of |g|.
      detach: True treats delta as a constant.
      along: how second derivatives are computed, see `hypergrad.descend`.
    """

    def divergence(delta, others, batch):
        w, arch = others
        moved = saliency.perturbed(batch["image"], delta, attack)
        out = logits(w, arch, batch, moved)
        aim = batch.get("target")
        if aim is None:
            aim = target_of(w, arch, batch)
        return devices.mean(saliency.divergence(out, aim))

    def target_of(w, arch, batch):
        label = batch["label"] if labels else None
        return saliency.target(logits(w, arch, batch, batch["image"]), label)

    slope = products.gradient(divergence, along)

    def level(solutions, arch, train_batch, opt_state):
        del opt_state
        batch, images, delta = train_batch, train_batch["image"], solutions["saliency"]
        others = (solutions["w1"], arch)

        def gradients(delta):
            """g of eq. 2, for the sum over the images, and xi_delta."""
            g = slope(delta, others, train_batch) * len(images)
            size = lax.stop_gradient(devices.mean(abs(g).mean()))
            usual = attack.step / jnp.where(size > 0, size, 1)
            return g, rate or usual

        if ascent == "gradient":
            g, xi = gradients(delta)
            found = delta + xi * g
            return lax.stop_gradient(found) if detach else found
        fixed = lax.stop_gradient(others)
        batch = batch | {"target": target_of(*fixed, batch)}  # once, not in each step
        found = saliency.pgd(
            lambda delta: slope(delta, fixed, batch), images, delta, attack
        )
        found = lax.stop_gradient(found)
        if detach:
            return found
        g, xi = gradients(found)
        return found + xi * (g - lax.stop_gradient(g))

    return Level("saliency", level)


def attack_cost(attack: saliency.Attack, ascent: str = "pgd") -> float:
    """The cost of finding delta, in evaluations of one batch's gradient."""
    steps = attack.steps if ascent == "pgd" else 1
    return steps * INPUT + FORWARD
