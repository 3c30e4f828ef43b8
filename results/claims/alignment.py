"""The sign of <g2', g2>: does Amended-DARTS' term point along the exact implicit term?

    python results/claims/alignment.py runs/nasbench201/darts_first_1?

Bi et al. (arXiv 1910.11831, section 2.3, appendix A.3) claim <g2', g2> >= 0, where
g2 = -D H^-1 v is the implicit term and g2' = -eta D H v, with v = grad_w L_val and D
the mixed second derivative of L_train. The search of every run is done again. At the
end of some epochs g2 is computed on many images, and g2' on pairs of the batches that a
step of alpha draws. The Hessian of a supernet is indefinite, so the inverse in g2 is of
the Gauss-Newton matrix plus a damping, solved by conjugate gradients to a residual that
is reported. H of g2' is the Hessian, as in eq. 5, the Gauss-Newton matrix, or the
identity. A large damping makes g2 parallel to -D v, whatever the curvature is: the
identity shows how much of the agreement is due to this.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from shared import COLOURS, described, study

from nasjax import hypergrad
from nasjax.analysis import runs
from nasjax.analysis.commands import say
from nasjax.core.keys import derive
from nasjax.plots.style import clean, new_figure, save

PAIRS, IMAGES = 50, 512
DAMPINGS, STEPS, TOLERANCE = (0.01, 0.1, 1.0), 300, 1e-2
EPOCHS = (5, 10, 20)  # as far as the search has them
KINDS = ("hessian", "gauss-newton", "identity")


def minus(tree):
    """The negative of a pytree."""
    return jax.tree.map(jnp.negative, tree)


def exact(problem, w, arch, train, val) -> dict:
    """Damping -> the implicit term, with the solver's residual and steps."""
    v = jax.grad(problem.val)(w, arch, val)
    plain = hypergrad.ggn(problem.outputs, problem.of_outputs)
    found = {}
    for damping in DAMPINGS:

        def damped(u, damping=damping):
            product = plain(problem.train, w, arch, train, u)
            return jax.tree.map(lambda p, x: p + damping * x, product, u)

        solved, report = hypergrad.cg(STEPS, tol=TOLERANCE).solve(damped, v)
        term = minus(hypergrad.mixed_vjp(problem.train, w, arch, train, solved))
        found[damping] = (term, report["cg_residual"], report["cg_steps"])
    return found


def cosines(problem, w, arch, train, val, terms: dict) -> dict:
    """Cosines of g2', with each kind of curvature, with every exact term."""
    v = jax.grad(problem.val)(w, arch, val)
    curvature = {
        "hessian": lambda: hypergrad.hvp(problem.train, w, arch, train, v),
        "gauss-newton": lambda: hypergrad.ggn(problem.outputs, problem.of_outputs)(
            problem.train, w, arch, train, v
        ),
        "identity": lambda: v,
    }
    dot = optax.tree.vdot
    found = {}
    for kind in KINDS:
        own = curvature[kind]()
        term = minus(hypergrad.mixed_vjp(problem.train, w, arch, train, own))
        for damping, (other, *_) in terms.items():
            found[f"{kind}, {damping}"] = dot(term, other) / jnp.sqrt(
                dot(term, term) * dot(other, other)
            )
    return found


def measured(run: runs.Run) -> dict:
    """Cosines and shares of negative ones at the epochs of a search, done again."""
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

    def many(half, state):
        key = derive(jax.random.key(0), half)
        batch = problem.task.clean(halves[half], key, IMAGES)
        return problem.placed(batch, state, derive(key, "mix"))

    def few(half, state, key):
        batch = problem.task.draw(halves[half], derive(key, half), state.step, None)
        return problem.placed(batch, state, derive(key, f"{half} mix"))

    reference = jax.jit(
        lambda s: exact(problem, s.w, s.arch, many("weights", s), many("arch", s))
    )
    measure = jax.jit(
        lambda s, key, terms: cosines(
            problem, s.w, s.arch, few("weights", s, key), few("arch", s, key), terms
        )
    )
    turns = {own.name: turn(own.name) for own in search.programs}
    per_epoch, rows = problem.training.steps_per_epoch, []
    for step in range(int(problem.training.epochs) * per_epoch):
        for own in search.programs:
            if own.cadence.due(step):
                state = turns[own.name](state)
        epoch, over = divmod(step + 1, per_epoch)
        if over or epoch not in EPOCHS:
            continue
        terms = reference(state)
        keys = [derive(jax.random.key(0), "pair", pair) for pair in range(PAIRS)]
        own = jax.device_get([measure(state, key, terms) for key in keys])
        rows.append({
            "epoch": epoch,
            "residual": {str(d): float(t[1]) for d, t in terms.items()},
            "steps": {str(d): int(t[2]) for d, t in terms.items()},
            "cosine": {name: float(np.mean([o[name] for o in own])) for name in own[0]},
            "negative": {name: float(np.mean([o[name] < 0 for o in own]))
                         for name in own[0]},
        })  # fmt: skip
        say(f"epoch {epoch}: {rows[-1]}")
    apart = jax.tree.map(lambda a, b: abs(a - b).max(), state.arch, run.state.arch)
    return described(run) | {
        "epochs": rows,
        "alpha_apart": float(max(map(float, jax.tree.leaves(apart)))),  # of the run
    }


def draw(rows: list[dict], path: Path) -> None:
    """Mean cosine by epoch: a line for each run, a panel for each damping."""
    figure = new_figure((10.6, 3.6), layout="constrained")
    panels = figure.subplots(1, len(DAMPINGS), sharey=True)
    for axes, damping in zip(panels, DAMPINGS, strict=True):
        for kind, colour in zip(KINDS, COLOURS, strict=False):
            for row in rows:
                epochs = [own["epoch"] for own in row["epochs"]]
                means = [own["cosine"][f"{kind}, {damping}"] for own in row["epochs"]]
                axes.plot(epochs, means, "o-", ms=3, lw=1, color=colour,
                          label=kind if row is rows[0] else None)  # fmt: skip
        axes.axhline(0, color="#666666", lw=0.8, ls=":")
        axes.set(xlabel="epoch", title=f"damping {damping} in g2", ylim=(-1.05, 1.05))
        clean(axes)
    panels[0].set_ylabel("cosine of g2' and g2")
    panels[0].legend(fontsize=8, title="curvature in g2'", title_fontsize=8)
    save(figure, path)


if __name__ == "__main__":
    settings = {"pairs": PAIRS, "images": IMAGES, "tolerance": TOLERANCE}
    study("alignment", measured, draw, settings)
