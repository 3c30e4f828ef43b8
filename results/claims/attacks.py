"""What an attack finds, and what a second network learns of reweighted images.

    nasjax retrain GENOTYPE --config.retrain.reweighted=True --config.saliency.mode=MODE \\
      --workdir=runs/attacks/MODE_0 ...
    python results/claims/attacks.py runs/attacks/*

SANAS (Hosseini, Xie, NeurIPS 2022) finds delta by an attack on a first network and
trains a second one on images reweighted by delta. For the first network of every seed
and each form of the attack, on the same test images, from two random starts (the start
that the target "soft" needs, for all forms): the share of images whose delta is flipped
(less than half of the signs agree), the correlation of |delta| of the two, and the
correlation of each product with the image. For the second network, which learned the
product of its run: accuracy and loss on reweighted images, and on whole images scaled to
the root mean square of the reweighted ones, because its batch norm knows only these.
Reweighted images also carry the class that the first network predicts.
"""

import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from shared import COLOURS, study

from nasjax import saliency
from nasjax.analysis import maps, runs
from nasjax.core.keys import per_example
from nasjax.plots.style import clean, new_figure, save
from nasjax.tasks.images import cross_entropy
from nasjax.tasks.retrain import reweighting

ATTACKED, TESTED = 256, 1000  # test images, at most
FORMS = tuple(itertools.product(("predicted", "soft"), ("gradient", "pgd")))


def correlation(a, b):
    """Correlation [B] of two batches of images over all entries of an image."""
    centred = [x.reshape(len(x), -1) for x in (a, b)]
    centred = [x - x.mean(1, keepdims=True) for x in centred]
    lengths = [jnp.linalg.norm(x, axis=1) for x in centred]
    product = (centred[0] * centred[1]).sum(1) / (lengths[0] * lengths[1])
    return jnp.where(lengths[0] * lengths[1] > 0, product, 0)


def found(logits, images, keys, form):
    """Delta after the ascent of `form` from a random start."""
    first = saliency.start(images, keys, form._replace(target="soft"))
    return saliency.find(logits, images, keys, form, first=first)


def of_starts(images, first, second, eps):
    """Measures of the deltas of two starts; an image that did not move is left out."""
    flat = lambda x: x.reshape(len(x), -1)
    moved = flat((first != 0) & (second != 0))
    same = flat(jnp.sign(first) == jnp.sign(second)) & moved
    any_moved = moved.any(1)
    agreement = same.sum(1) / jnp.maximum(moved.sum(1), 1)
    mean = lambda values: values.mean(where=any_moved)
    product = lambda mode: saliency.reweighted(images, first, mode, eps)
    return {
        "moved": any_moved.mean(),
        "agreement": mean(agreement),
        "flipped": mean(agreement < 0.5),
        "size": mean(correlation(abs(first), abs(second))),
        **{m: mean(correlation(images, product(m))) for m in ("signed", "scaled")},
    }


def measured(run: runs.Run) -> dict:
    """The measures of one run."""
    config, domain = run.experiment.config, runs.images_of(run)
    attack, count = domain.attack, len(domain.data.test.label)
    model, variables = runs.retrained(run)
    logits = lambda x: model.apply(variables, {}, x, train=False)[0].logits
    images, _, _ = maps.prepared_images(run, np.arange(min(ATTACKED, count)))
    starts = [per_example(jax.random.key(s), len(images)) for s in (1, 2)]
    attacks = {}
    for target, ascent in FORMS:
        form = attack._replace(target=target, ascent=ascent)
        deltas = jax.jit(lambda keys, form=form: found(logits, images, keys, form))
        both = of_starts(images, *map(deltas, starts), attack.eps)
        attacks[f"{target}, {ascent}"] = {k: float(v) for k, v in both.items()}
    images, keys, label = maps.prepared_images(run, np.arange(min(TESTED, count)))
    second, own = runs.retrained(run, "reweighted")
    images_of, _ = reweighting(model, attack, config.saliency.mode)
    seen = jax.jit(images_of)(variables, images, keys)
    size = lambda x: jnp.sqrt((x**2).mean())
    tests = {}
    for name, given in (("whole", images * size(seen) / size(images)),
                        ("reweighted", seen)):  # fmt: skip
        out = second.apply(own, {}, given, train=False)[0].logits
        tests[f"{name}_loss"] = float(cross_entropy(out, jnp.asarray(label)))
        tests[f"{name}_accuracy"] = float((out.argmax(-1) == label).mean())
    of = config.saliency
    return {
        "learned": f"{of.mode}, {of.target}, {of.ascent}",
        "seed": config.seed,
        "first_accuracy": float((logits(images).argmax(-1) == label).mean()),
        "attacks": attacks,
        **tests,
    }


def draw(rows: list[dict], path: Path) -> None:
    """Flipped images by the form of the attack; losses by what W2 learned."""
    figure = new_figure((10.6, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = [", ".join(form) for form in FORMS]
    firsts = {row["seed"]: row["attacks"] for row in rows}.values()  # W1 is of the seed
    for index, (kind, words) in enumerate(
        (("flipped", "images flipped"), ("size", "correlation of |delta|"))
    ):
        values = [[own[name][kind] for own in firsts] for name in names]
        errors = [np.std(own) / max(len(own) - 1, 1) ** 0.5 for own in values]
        left.bar(np.arange(len(names)) + 0.38 * index, np.mean(values, 1), 0.36,
                 yerr=errors, color=COLOURS[index], label=words)  # fmt: skip
    left.set_xticks(np.arange(len(names)) + 0.19, names, fontsize=8)
    left.set_title("two random starts of the same attack", fontsize=9)
    learned = list(dict.fromkeys(row["learned"] for row in rows))
    for index, kind in enumerate(("whole", "reweighted")):
        values = [[row[f"{kind}_loss"] for row in rows if row["learned"] == name]
                  for name in learned]  # fmt: skip
        for place, own in enumerate(values):
            right.plot([place + 0.2 * index] * len(own), own, "o", ms=4,
                       color=COLOURS[index], label=None if place else f"{kind} images")  # fmt: skip
    right.axhline(np.log(10), color="#666666", lw=0.8, ls=":", label="chance")
    right.set_xticks(np.arange(len(learned)) + 0.1,
                     [name.replace(", ", "\n") for name in learned], fontsize=8)  # fmt: skip
    right.set_title("test loss of the second network, by what it learned", fontsize=9)
    for axes in (left, right):
        axes.legend(fontsize=8)
        clean(axes)
    save(figure, path)


if __name__ == "__main__":
    study("attacks", measured, draw, {"attacked": ATTACKED, "tested": TESTED}, True)
