"""Saliency maps of a run's networks, and measures of their quality.

Three kinds of map of the same network: |delta| of an attack (SANAS, appendix L), the
gradient of the predicted class's logit, and integrated gradients. The measures are from
Petsiuk et al., RISE, arXiv 1806.07421. The probability of the predicted class falls
while the most salient pixels are removed ("deletion", small is good), and rises while
they are inserted ("insertion", large is good); both are areas under the curve. A
removed pixel has the mean colour of the data. Pixels of equal saliency come in random
order, as do all pixels of the map "random", which any other map has to beat.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nasjax import saliency
from nasjax.analysis import runs
from nasjax.core.keys import derive, per_example
from nasjax.data.augment import prepare
from nasjax.engine.compiling import compiler_options
from nasjax.nets import Model
from nasjax.saliency import Attack
from nasjax.tasks.base import At
from nasjax.tasks.retrain import reweighting

METHODS = ("attack", "gradient", "integrated gradients")
FRACTIONS = 32  # points of a curve after its start


class Net(NamedTuple):
    """A trained network of a run.

    Attributes:
      logits: (weights, images, keys) -> [B, classes], in evaluation mode.
      weights: variables of the network, and the mixing weights of a supernet.
      attack: attack that finds its saliency, with the normalisation of its images.
    """

    logits: Callable
    weights: Any
    attack: Attack


def networks(run: runs.Run) -> dict[str, Net]:
    """The supernet as the search left it, "search", and the retrained network, "final",
    if there is one."""
    attack, task = runs.images_of(run).attack, run.search.problem.task

    def logits(weights, images, keys):
        w, batch_stats, mix = weights
        batch = {"image": images, "key": keys, "batch_stats": batch_stats, "at": At()}
        return task.outputs(w, mix, batch, False)[0].logits

    weights = run.state.w, run.state.batch_stats, run.search.mix(run.state)
    found = {"search": Net(logits, weights, attack)}
    final = runs.retrained(run)
    if final is not None:
        model, variables = final
        found["final"] = Net(_still(model), (variables, {}), attack)
    return found


def maps(net: Net, weights: Any, images: Array, keys: Array) -> dict[str, Array]:
    """Method -> heat [B, H, W], at least 0, for the predicted classes."""
    logits = lambda x: net.logits(weights, x, keys)
    label = logits(images).argmax(-1)
    delta = saliency.find(logits, images, keys, net.attack)
    slope = saliency.gradient_saliency(logits, images, label)
    path = saliency.integrated_gradients(logits, images, label)
    return {
        name: saliency.heat(found)
        for name, found in zip(METHODS, (delta, slope, path), strict=True)
    }


def areas(logits: Callable, images: Array, heat: Array, keys: Array) -> dict:
    """{"deletion", "insertion"}: areas [B] under the curves, from 0 to 1.

    Args:
      logits: images -> [B, classes].
      images: normalised images [B, H, W, C], whose mean colour is 0.
      heat: saliency [B, H, W].
      keys: typed keys [B] of the order of equal pixels.

    >>> first = lambda x: jnp.stack([9 * x[:, 0, 0, 0], 0 * x[:, 0, 0, 0]], 1)
    >>> x, keys = jnp.ones((1, 1, 8, 1)), jax.random.key(0)[None]
    >>> good = areas(first, x, x[..., 0].at[0, 0, 0].set(2.0), keys)
    >>> f"{good['deletion'][0]:.2f} {good['insertion'][0]:.2f}"
    '0.53 0.97'
    """
    count, height, width = heat.shape
    total = height * width
    label = logits(images).argmax(-1)
    ties = jax.vmap(lambda key: jax.random.uniform(derive(key, "ties"), (total,)))(keys)
    order = jnp.lexsort((ties, -heat.reshape(count, total)), axis=-1)
    rank = jnp.argsort(order, axis=-1).reshape(count, height, width, 1)
    points = min(FRACTIONS, total)

    def probability(x):
        return saliency.of_label(jax.nn.softmax(logits(x)), label)

    def at(point):
        gone = rank < jnp.round(point / points * total)
        left, added = jnp.where(gone, 0, images), jnp.where(gone, images, 0)
        return probability(left), probability(added)

    curves = jax.lax.map(at, jnp.arange(points + 1))
    under = lambda curve: jnp.trapezoid(curve, dx=1 / points, axis=0)
    return {"deletion": under(curves[0]), "insertion": under(curves[1])}


def measured(net: Net, run: runs.Run, shown: np.ndarray, count: int):
    """Heat of the images that are shown, and measures of the first `count` images.

    Returns:
      method -> heat [N, H, W];
      {"accuracy", "saturated": the share of pixels at 99 % or more of eps, "maps":
      method -> mean areas}, of the test images.
    """
    size = min(run.experiment.config.retrain.batch, max(count, len(shown)))
    jit = functools.partial(jax.jit, compiler_options=compiler_options())
    heats_of = jit(functools.partial(maps, net))

    @jit
    def judged(weights, images, keys, heats):
        logits = lambda x: net.logits(weights, x, keys)
        shape = images.shape[1:3]
        draw = lambda key: jax.random.uniform(derive(key, "random"), shape)
        every = jnp.stack([*heats.values(), jax.vmap(draw)(keys)])
        found = jax.lax.map(lambda heat: areas(logits, images, heat, keys), every)
        return found, logits(images).argmax(-1)

    def heat(images, keys, label):
        return heats_of(net.weights, images, keys)

    def judge(images, keys, label):
        heats = heats_of(net.weights, images, keys)
        found, predicted = judged(net.weights, images, keys, heats)
        saturated = (heats["attack"] >= 0.99 * net.attack.eps).mean((1, 2))
        rows = jax.tree.map(jnp.transpose, found)  # [B, methods]
        return {"accuracy": predicted == label, "saturated": saturated, **rows}

    heats = _in_batches(heat, run, shown, size)
    mean = {
        name: values.mean(0)
        for name, values in _in_batches(judge, run, np.arange(count), size).items()
    }
    kinds = {
        name: {kind: float(mean[kind][i]) for kind in ("deletion", "insertion")}
        for i, name in enumerate((*METHODS, "random"))
    }
    return heats, {
        "accuracy": float(mean["accuracy"]),
        "saturated": float(mean["saturated"]),
        "maps": kinds,
    }


def prepared_images(
    run: runs.Run, index: np.ndarray
) -> tuple[Array, Array, np.ndarray]:
    """Images as networks take them, a key of each, labels."""
    domain = runs.images_of(run)
    test = domain.data.test
    images = prepare(jnp.asarray(test.image[index]), None, domain.search_augment)
    keys = per_example(jax.random.key(0), len(test.label))[index]
    return images, keys, test.label[index]


def _in_batches(function: Callable, run: runs.Run, index: np.ndarray, size: int):
    """The values of function(images, keys, label), in batches of `size`."""
    parts = []
    for first in range(0, len(index), size):
        own = index[first : first + size]
        padded = np.pad(own, (0, size - len(own)), mode="edge")
        found = jax.device_get(function(*prepared_images(run, padded)))
        parts.append(jax.tree.map(lambda leaf, own=own: leaf[: len(own)], found))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def inference(run: runs.Run, repeats: int = 5) -> dict[str, Any] | None:
    """Milliseconds for an image, plain and reweighted by its saliency (appendix C).

    Each is the minimum over `repeats` batches, after a first one that is not counted.
    None without a retrained network.
    """
    final = runs.retrained(run)
    if final is None:
        return None
    model, variables = final
    config, domain = run.experiment.config, runs.images_of(run)
    test = domain.data.test
    size = min(config.retrain.batch, len(test.label))
    images, keys, _ = prepared_images(run, np.arange(size))
    _, both = reweighting(model, domain.attack, config.saliency.mode)
    found: dict[str, Any] = {"batch": size}
    for name, net, own in (
        ("plain_ms", model, variables),
        ("reweighted_ms", both, {**variables, "first": variables}),
    ):
        given: tuple = (own, {})
        run_it = jax.jit(_still(net), compiler_options=compiler_options())
        jax.block_until_ready(run_it(given, images, keys))
        seconds = []
        for _ in range(repeats):
            begun = time.perf_counter()
            jax.block_until_ready(run_it(given, images, keys))
            seconds.append(time.perf_counter() - begun)
        found[name] = 1000 * min(seconds) / size
    return found


def _still(model: Model) -> Callable:
    def logits(weights, images, keys):
        variables, mix = weights
        out, _ = model.apply(variables, mix, images, train=False, key=keys)
        return out.logits

    return logits
