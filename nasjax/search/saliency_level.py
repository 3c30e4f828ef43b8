"""The second level of SANAS: saliency of training images, with a derivative (eq. 2)."""

from __future__ import annotations

from collections.abc import Callable

from jax import lax

from nasjax import saliency
from nasjax.engine.devices import Devices
from nasjax.hypergrad import Level, products
from nasjax.search.directions import FORWARD

INPUT = 2 / 3  # cost of a gradient with respect to the image alone


def saliency_level(
    logits: Callable,
    attack: saliency.Attack,
    devices: Devices,
    detach: bool = False,
    along: Callable = products.along,
) -> Level:
    """The level "saliency": delta of the network "w1" on the training images.

    The attack starts from the current delta. Its steps but the last are taken as
    constant, so the level is eq. 2 from the delta before the last step. With ascent
    "pgd", whose sign has no derivative, the level has the derivative of eq. 2 at the
    result; this is not the derivative of its value, so `hypergrad.check` of a chain
    through it reports a disagreement, as expected.

    Args:
      logits: (w, arch, batch, images) -> [B, classes].
      attack: the attack.
      devices: the devices that the batch is split over.
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
        found = logits(w, arch, batch, batch["image"])
        return saliency.target(found, attack, batch["label"])

    slope = products.gradient(divergence, along)

    def level(solutions, arch, train_batch, opt_state):
        del opt_state
        images, delta = train_batch["image"], solutions["saliency"]
        others = (solutions["w1"], arch)
        fixed = lax.stop_gradient(others)
        batch = train_batch | {"target": target_of(*fixed, train_batch)}  # once

        def climb(delta, others=fixed, batch=batch):
            """g of eq. 2, for the sum over the images."""
            return slope(delta, others, batch) * len(images)

        literal = attack.ascent == "gradient" and not detach
        before = attack._replace(steps=attack.steps - literal)
        found = lax.stop_gradient(saliency.ascend(climb, images, delta, before))
        if detach:
            return found
        if attack.target == "soft":  # the target depends on the network as well
            batch = train_batch
        g = climb(found, others, batch)
        if literal:
            return saliency.moved(found, g, images, attack)
        return found + saliency.rate(g, attack) * (g - lax.stop_gradient(g))

    return Level("saliency", level)


def attack_cost(attack: saliency.Attack) -> float:
    """The cost of finding delta, in evaluations of one batch's gradient."""
    return attack.steps * INPUT + FORWARD * (attack.target != "label")
