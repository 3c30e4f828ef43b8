"""Saliency maps of a run's networks, and measures of their quality.

Maps of the same network and its predicted class: |delta| of an attack (SANAS, appendix
L), the gradient of the logit, both also times the image, and integrated gradients. The
attack is eq. 2 against the predicted class, whatever the search used.

The measures are from Petsiuk et al., RISE, arXiv 1806.07421. The probability of the
predicted class falls while the most salient pixels are removed ("deletion", small is
good), and rises while they are inserted ("insertion", large is good); both are areas
under the curve. A removed pixel has the mean colour of the data. Pixels of equal
saliency come in random order. Two maps are controls: "random", and "image", |x|, which
is the contrast to the mean colour and knows nothing of the network. "gain" is insertion
minus deletion, minus the same of "random".
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

DRAWN = ("attack", "attack x image", "gradient", "integrated gradients")
CONTROLS = ("image", "random")
METHODS = (*DRAWN, "gradient x image")
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
    as far as the run has them."""
    attack = runs.images_of(run).attack._replace(ascent="gradient", target="predicted")
    found = {}
    if run.search:
        weights = run.state.w, run.state.batch_stats, run.search.mix(run.state)
        found["search"] = Net(_supernet(run), weights, attack)
    final = runs.retrained(run)
    if final is not None:
        model, variables = final
        found["final"] = Net(_still(model), (variables, {}), attack)
    return found


def _supernet(run: runs.Run) -> Callable:
    task = run.search.problem.task

    def logits(weights, images, keys):
        w, batch_stats, mix = weights
        batch = {"image": images, "key": keys, "batch_stats": batch_stats, "at": At()}
        return task.outputs(w, mix, batch, False)[0].logits

    return logits


def maps(net: Net, weights: Any, images: Array, keys: Array) -> dict[str, Array]:
    """Method -> heat [B, H, W], at least 0, for the predicted classes."""
    logits = lambda x: net.logits(weights, x, keys)
    label = logits(images).argmax(-1)
    delta = saliency.find(logits, images, keys, net.attack)
    slope = saliency.gradient_saliency(logits, images, label)
    path = saliency.integrated_gradients(logits, images, label)
    found = (delta, delta * images, slope, path, slope * images)
    return {name: saliency.heat(own) for name, own in zip(METHODS, found, strict=True)}


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
      {"accuracy", "maps": method or control -> mean "deletion", "insertion", "gain" and
      "gain_error", the standard error of the gain over the images}, of the test images.
    """
    size = min(run.experiment.config.retrain.batch, max(count, len(shown)))
    jit = functools.partial(jax.jit, compiler_options=compiler_options())
    heats_of = jit(functools.partial(maps, net))

    @jit
    def judged(weights, images, keys, heats):
        logits = lambda x: net.logits(weights, x, keys)
        shape = images.shape[1:3]
        draw = lambda key: jax.random.uniform(derive(key, "random"), shape)
        controls = saliency.heat(images), jax.vmap(draw)(keys)
        every = jnp.stack([*heats.values(), *controls])
        found = jax.lax.map(lambda heat: areas(logits, images, heat, keys), every)
        return found, logits(images).argmax(-1)

    def heat(images, keys, label):
        return heats_of(net.weights, images, keys)

    def judge(images, keys, label):
        heats = heats_of(net.weights, images, keys)
        found, predicted = judged(net.weights, images, keys, heats)
        rows = jax.tree.map(jnp.transpose, found)  # [B, methods]
        gain = rows["insertion"] - rows["deletion"]
        gain = gain - gain[:, -1:]
        return {"accuracy": predicted == label, "gain": gain, **rows}

    heats = _in_batches(heat, run, shown, size)
    found = _in_batches(judge, run, np.arange(count), size)
    error = found["gain"].std(0, ddof=1) / np.sqrt(count) if count > 1 else None
    kinds: dict[str, dict[str, float]] = {}
    for i, name in enumerate((*METHODS, *CONTROLS)):
        means = {
            kind: float(found[kind][:, i].mean())
            for kind in ("deletion", "insertion", "gain")
        }
        spread = float("nan") if error is None else float(error[i])
        kinds[name] = means | {"gain_error": spread}
    return heats, {"accuracy": float(found["accuracy"].mean()), "maps": kinds}


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
