"""The loss of a supernet around its mixing weights A, and what discretising costs.

    python results/claims/flatness.py runs/nasbench201/{darts_first,sdarts_rs,sdarts_adv}_?

SmoothDARTS (arXiv 2002.05283, eq. 6): for delta uniform in [-eps, eps],
E[L(A + delta)] - L(A) is about eps^2 / 6 times the trace of the Hessian of L in A. For
every run: the mean rise over random delta, the trace, the trace along the simplex (the
rows of delta have sum 0), and the loss and accuracy before and after A is discretised
by the search's rule, on the same images, which alpha has seen and no weights. Batch norm
uses the moments of the batch, because running moments are of other mixing weights; a
test of the discretised network with running moments would lose more.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from shared import COLOURS, described, study

from nasjax.analysis import runs
from nasjax.core.keys import derive
from nasjax.hypergrad import curvature
from nasjax.plots.style import clean, new_figure, save
from nasjax.tasks.base import At

EPS = (0.01, 0.03, 0.1, 0.3)
DRAWS, IMAGES = 16, 512


def rise(loss, mix, hessian, eps, key):
    """Mean and standard error of L(A + delta) - L(A) over random delta.

    The quadratic delta' H delta / 2, whose mean is known, is subtracted from every draw
    and its mean added: the same mean with a small error.
    """
    flat, unravel = jax.flatten_util.ravel_pytree(mix)
    draw = eps * jax.random.uniform(key, (DRAWS, flat.size), flat.dtype, -1.0, 1.0)
    both = jnp.concatenate([draw, -draw])  # pairs remove the linear term
    moved = jax.lax.map(lambda own: loss(unravel(flat + own)), both)
    pairs = (moved[:DRAWS] + moved[DRAWS:]) / 2 - loss(mix)
    rest = pairs - ((draw @ hessian) * draw).sum(1) / 2
    mean = rest.mean() + eps**2 / 6 * jnp.trace(hessian)
    return mean, rest.std(ddof=1) / DRAWS**0.5


def traces(hessian, operations: int) -> tuple[float, float]:
    """tr H, and tr P H P with P the projection onto rows [operations] of sum 0."""
    rows = len(hessian) // operations
    centre = np.eye(operations) - 1 / operations
    project = np.kron(np.eye(rows), centre)
    return float(np.trace(hessian)), float(np.trace(project @ hessian @ project))


def measured(run: runs.Run) -> dict:
    """The measures of one run."""
    problem, key = (
        run.search.problem,
        derive(jax.random.key(run.experiment.config.seed), "flatness"),
    )
    _, val = runs.batches(run, key, 0, IMAGES)
    val |= {"at": At()}

    def outputs(mix):
        return problem.task.outputs(run.state.w, mix, val, True)[0]

    loss = lambda mix: problem.task.criterion(outputs(mix), val)
    mix = run.search.mix(run.state)
    chosen = problem.relaxation.choose(mix, problem.space, None)
    seen = {}
    for name, own in (("mixed", mix), ("discretised", chosen)):
        out = jax.jit(outputs)(own)
        seen[f"{name}_loss"] = float(problem.task.criterion(out, val))
        seen[f"{name}_accuracy"] = float(problem.task.scores(out, val)["accuracy"])
    hessian = jax.jit(lambda mix: curvature.hessian(loss, mix))(mix)
    rise_of = jax.jit(lambda mix, eps: rise(loss, mix, hessian, eps, key))
    found = [tuple(map(float, rise_of(mix, eps))) for eps in EPS]
    trace, simplex = traces(np.asarray(hessian), len(problem.space.primitives))
    return described(run) | {
        "trace": trace,
        "trace_simplex": simplex,
        "eps": EPS,
        "rise": [mean for mean, _ in found],
        "rise_error": [error for _, error in found],
        **seen,
    }


def draw(rows: list[dict], path: Path) -> None:
    """The rise against eps^2 / 6 Tr H, and the drop of accuracy by discretising."""
    figure = new_figure((9.4, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    names = list(dict.fromkeys(row["algorithm"] for row in rows))
    for name, colour in zip(names, COLOURS, strict=False):
        own = [row for row in rows if row["algorithm"] == name]
        for row in own:
            expected = np.array(row["eps"]) ** 2 / 6 * row["trace"]
            label = name if row is own[0] else None
            left.errorbar(expected, row["rise"], row["rise_error"], fmt="o-", ms=3,
                          color=colour, lw=0.8, label=label)  # fmt: skip
        drops = [100 * (r["mixed_accuracy"] - r["discretised_accuracy"]) for r in own]
        right.plot([r["trace"] for r in own], drops, "o", color=colour, label=name)
    for scale in (left.set_xscale, left.set_yscale, right.set_xscale):
        scale("symlog", linthresh=1e-4 if scale != right.set_xscale else 1.0)
    ends = left.get_xlim()
    left.plot(ends, ends, ":", color="#666666", label="equal")
    left.set(xlabel="eps² / 6 · Tr H", ylabel="mean rise of the loss")
    right.set(xlabel="Tr H in the mixing weights",
              ylabel="accuracy lost by discretising, points")  # fmt: skip
    for axes in (left, right):
        axes.legend(fontsize=8)
        clean(axes)
    save(figure, path)


if __name__ == "__main__":
    study("flatness", measured, draw, {"images": IMAGES, "draws": DRAWS})
