"""The sign of <g2', g2>: does Amended-DARTS' term point along the exact implicit term?

    python results/claims/alignment.py runs/nasbench201/darts_first_0

Bi et al. (arXiv 1910.11831, section 2.3, appendix A.3) claim <g2', g2> >= 0, where
g2 = -D H^-1 v is the implicit term and g2' = -eta D H v, with v = grad_w L_val and D
the mixed second derivative of L_train. The search of the run is done again, and at the
end of some epochs both terms are computed on pairs of batches. The Hessian of a
supernet is indefinite, so the inverse is of the Gauss-Newton matrix plus a damping,
solved by conjugate gradients to a residual that is reported. H of g2' is the Hessian,
as in the paper's eq. 5, or the same damped Gauss-Newton matrix.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from shared import COLOURS, HERE

from nasjax import hypergrad
from nasjax.analysis import runs
from nasjax.analysis.commands import say, write
from nasjax.core.keys import derive
from nasjax.plots.style import clean, new_figure, save

PAIRS, DAMPINGS, STEPS, TOLERANCE = 50, (0.1, 1.0), 200, 1e-3
EPOCHS = (1, 2, 4, 6, 8, 10)  # as far as the search of the run has them


def dot(a, b):
    return optax.tree.vdot(a, b)


def terms(problem, w, arch, train, val):
    """Cosines of g2' with g2, and of both with the direct term, for each damping."""
    v = jax.grad(problem.val)(w, arch, val)
    direct = jax.grad(problem.val, 1)(w, arch, val)
    mixed = lambda u: hypergrad.mixed_vjp(problem.train, w, arch, train, u)
    minus = lambda tree: jax.tree.map(jnp.negative, tree)
    plain = hypergrad.ggn(problem.outputs, problem.of_outputs)
    by_hessian = minus(mixed(hypergrad.hvp(problem.train, w, arch, train, v)))
    cosine = lambda a, b: dot(a, b) / jnp.sqrt(dot(a, a) * dot(b, b))
    found = {"amended, direct": cosine(by_hessian, direct)}
    for damping in DAMPINGS:
        product = lambda u: plain(problem.train, w, arch, train, u)
        damped = lambda u, d=damping: jax.tree.map(
            lambda p, x: p + d * x, product(u), u
        )
        solved, report = hypergrad.cg(STEPS, tol=TOLERANCE).solve(damped, v)
        exact = minus(mixed(solved))
        found |= {
            f"hessian, {damping}": cosine(by_hessian, exact),
            f"gauss-newton, {damping}": cosine(minus(mixed(damped(v))), exact),
            f"exact, direct, {damping}": cosine(exact, direct),
            f"residual, {damping}": report["cg_residual"],
            f"steps, {damping}": report["cg_steps"],
        }
    return found


def study(path: str) -> list[dict]:
    """Rows (epoch, name -> values of every pair) of one search."""
    run = runs.load(path)
    search, problem = run.search, run.search.problem
    halves = jax.tree.map(jnp.asarray, dict(run.experiment.domain.halves))
    seed = run.experiment.config.seed
    state = jax.jit(search.init)(derive(jax.random.key(seed), "search"))

    def turn(name):
        program = search.program(name)

        def step(state):
            batches = program.batches.draw(problem.task, halves, state)
            return program.step(state, *batches)[0]

        return jax.jit(step, donate_argnums=0)

    programs = {own.name: turn(own.name) for own in search.programs}
    measure = jax.jit(
        lambda state, train, val: terms(problem, state.w, state.arch, train, val)
    )
    rows, per_epoch = [], problem.training.steps_per_epoch
    epochs = [epoch for epoch in EPOCHS if epoch <= problem.training.epochs]
    for epoch in range(1, max(epochs) + 1):
        for step in range((epoch - 1) * per_epoch, epoch * per_epoch):
            for own in search.programs:
                if own.cadence.due(step):
                    state = programs[own.name](state)
        if epoch not in epochs:
            continue
        found: dict[str, list] = {}
        for pair in range(PAIRS):
            key = derive(jax.random.key(0), "pair", pair)
            batch = lambda half, name, key=key, state=state: problem.placed(
                problem.task.draw(halves[half], derive(key, name), state.step, None),
                state, derive(key, f"{name} mix"),
            )  # fmt: skip
            own = measure(state, batch("weights", "train"), batch("arch", "val"))
            for name, value in jax.device_get(own).items():
                found.setdefault(name, []).append(float(value))
        rows.append({"epoch": epoch, **found})
        say(f"epoch {epoch}: " + ", ".join(
            f"{name} {np.mean(own):.3f}" for name, own in found.items()))  # fmt: skip
    return rows


def summary(rows: list[dict]) -> list[dict]:
    """Means, standard errors, and the share of pairs with a negative inner product."""
    return [
        {"epoch": row["epoch"]}
        | {
            name: {
                "mean": float(np.mean(own)),
                "error": float(np.std(own, ddof=1) / len(own) ** 0.5),
                "negative": float(np.mean(np.array(own) < 0)),
            }
            for name, own in row.items()
            if name != "epoch"
        }
        for row in rows
    ]


def draw(rows: list[dict], path: Path) -> None:
    """Cosines by epoch: every pair, and the mean."""
    figure = new_figure((9.4, 3.6), layout="constrained")
    for axes, kind in zip(
        figure.subplots(1, 2, sharey=True), ("hessian", "gauss-newton"), strict=True
    ):
        for damping, colour in zip(DAMPINGS, COLOURS, strict=False):
            name, shift = f"{kind}, {damping}", 0.3 * (damping == DAMPINGS[0])
            for row in rows:
                x = np.full(len(row[name]), row["epoch"] + shift)
                axes.plot(x, row[name], ".", color=colour, ms=3, alpha=0.4)
            means = [np.mean(row[name]) for row in rows]
            axes.plot([r["epoch"] + shift for r in rows], means, "-", color=colour,
                      label=f"g2 with damping {damping}")  # fmt: skip
        axes.axhline(0, color="#666666", lw=0.8, ls=":")
        axes.set(xlabel="epoch", title=f"H of g2': {kind}", ylim=(-1.05, 1.05))
        axes.legend(fontsize=8)
        clean(axes)
    figure.axes[0].set_ylabel("cosine of g2' and g2")
    save(figure, path)


if __name__ == "__main__":
    rows = study(sys.argv[1])
    settings = {"pairs": PAIRS, "steps": STEPS, "tolerance": TOLERANCE}
    write(
        HERE / "alignment.json", {**settings, "epochs": rows, "summary": summary(rows)}
    )
    draw(rows, HERE / "alignment.png")
