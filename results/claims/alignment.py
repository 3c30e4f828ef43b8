"""The sign of <g2', g2>: does Amended-DARTS' term point along the exact implicit term?

    python results/claims/alignment.py runs/study/darts_first*

Bi et al. (arXiv 1910.11831, section 2.3, appendix A.3) claim <g2', g2> >= 0, where
g2 = -D H^-1 v is the implicit term and g2' = -eta D H v, with v = grad_w L_val and D
the mixed second derivative of L_train. At every checkpoint that a run has kept, g2 is
computed on many images, and g2' on pairs of the batches that a step of alpha draws. The
Hessian of a supernet is indefinite, so the inverse in g2 is of the Gauss-Newton matrix
plus a damping, solved by conjugate gradients to a residual that is reported. H of g2' is
the Hessian, as in eq. 5, the Gauss-Newton matrix, or the identity. A large damping makes
g2 parallel to -D v, whatever the curvature is: the identity shows how much of the
agreement is due to this.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy import stats
from shared import COLOURS, described, study

from nasjax import hypergrad
from nasjax.analysis import runs
from nasjax.analysis.commands import table
from nasjax.core.keys import derive
from nasjax.engine.checkpoint import Checkpoints
from nasjax.plots.style import clean, new_figure, save

PAIRS, IMAGES = 50, 512
DAMPINGS, STEPS, TOLERANCE = (0.01, 0.1, 1.0), 300, 1e-2
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


def approximate(problem, w, arch, train, val) -> dict:
    """Kind of curvature -> the amending term of one pair of batches, without eta."""
    v = jax.grad(problem.val)(w, arch, val)
    plain = hypergrad.ggn(problem.outputs, problem.of_outputs)
    products = {
        "hessian": hypergrad.hvp(problem.train, w, arch, train, v),
        "gauss-newton": plain(problem.train, w, arch, train, v),
        "identity": v,
    }
    mixed = lambda u: hypergrad.mixed_vjp(problem.train, w, arch, train, u)
    return {kind: minus(mixed(own)) for kind, own in products.items()}


def compared(terms: dict, pairs: dict) -> dict:
    """Cosines of the terms of pairs with an exact term, by damping and curvature.

    Args:
      terms: damping -> exact term [n].
      pairs: kind of curvature -> terms [pairs, n].

    Returns:
      "kind, damping" -> mean cosine of a pair, share of negative cosines, and cosine of
      the mean term.
    """
    cosine = lambda a, b: a @ b / np.linalg.norm(a, axis=-1) / np.linalg.norm(b)
    found = {}
    for kind, own in pairs.items():
        for damping, term in terms.items():
            each = cosine(own, term)
            found[f"{kind}, {damping}"] = {
                "cosine": float(each.mean()),
                "negative": float((each < 0).mean()),
                "of_mean": float(cosine(own.mean(0), term)),
            }
    return found


def measured(run: runs.Run) -> dict:
    """The comparison at every checkpoint of a run."""
    search, problem = run.search, run.search.problem
    halves = jax.tree.map(jnp.asarray, dict(run.experiment.domain.halves))

    def many(half, state):
        key = derive(jax.random.key(0), half)
        batch = problem.task.clean(halves[half], key, IMAGES)
        return problem.placed(batch, state, derive(key, "mix"))

    def few(half, state, key):
        batch = problem.task.draw(halves[half], derive(key, half), state.step, None)
        return problem.placed(batch, state, derive(key, f"{half} mix"))

    @jax.jit
    def reference(s):
        return exact(problem, s.w, s.arch, many("weights", s), many("arch", s))

    @jax.jit
    def terms_of(s, key):
        batches = few("weights", s, key), few("arch", s, key)
        return approximate(problem, s.w, s.arch, *batches)

    keys = [derive(jax.random.key(0), "pair", pair) for pair in range(PAIRS)]
    flat = lambda tree: np.asarray(ravel_pytree(tree)[0])
    checkpoints = Checkpoints(run.folder.path / "checkpoints" / run.stage)
    abstract, rows = jax.eval_shape(search.init, jax.random.key(0)), []
    for step in checkpoints.steps():
        _, state, _ = checkpoints.restore(abstract, step)
        solved = reference(state)
        own = [terms_of(state, key) for key in keys]
        pairs = {kind: np.stack([flat(o[kind]) for o in own]) for kind in KINDS}
        terms = {damping: flat(term) for damping, (term, *_) in solved.items()}
        rows.append({
            "epoch": step / problem.training.steps_per_epoch,
            "residual": {str(d): float(t[1]) for d, t in solved.items()},
            "steps": {str(d): int(t[2]) for d, t in solved.items()},
            **compared(terms, pairs),
        })  # fmt: skip
    return described(run) | {"checkpoints": rows}


def draw(rows: list[dict], path: Path) -> None:
    """Mean cosine of a pair by epoch: a dot for each checkpoint, a panel for each
    damping."""
    figure = new_figure((10.6, 3.6), layout="constrained")
    panels = figure.subplots(1, len(DAMPINGS), sharey=True)
    for axes, damping in zip(panels, DAMPINGS, strict=True):
        for place, (kind, colour) in enumerate(zip(KINDS, COLOURS, strict=False)):
            name = f"{kind}, {damping}"
            seen = [own for row in rows for own in row["checkpoints"]]
            axes.plot([own["epoch"] + 0.5 * (place - 1) for own in seen],
                      [own[name]["cosine"] for own in seen], "o", ms=4, color=colour,
                      alpha=0.7, label=kind)  # fmt: skip
        axes.axhline(0, color="#666666", lw=0.8, ls=":")
        axes.set(xlabel="epoch", title=f"damping {damping} in g2", ylim=(-1.05, 1.05))
        clean(axes)
    panels[0].set_ylabel("mean cosine of g2' and g2")
    panels[0].legend(fontsize=8, title="curvature in g2'", title_fontsize=8)
    save(figure, path)


def printed(rows: list[dict]) -> str:
    """The table: means over the runs, each the mean of its checkpoints."""
    lines = []
    for name in (f"{kind}, {damping}" for kind in KINDS for damping in DAMPINGS):
        cells = [name]
        for measure in ("cosine", "negative", "of_mean"):
            values = np.array(
                [
                    np.mean([c[name][measure] for c in row["checkpoints"]])
                    for row in rows
                ]
            )
            cells.append(f"{values.mean():+.3f} ± {stats.sem(values):.3f}")
        lines.append(cells)
    return table(["curvature, damping", "cosine", "negative", "cosine of mean"], lines)


if __name__ == "__main__":
    settings = {"pairs": PAIRS, "images": IMAGES, "tolerance": TOLERANCE}
    print(printed(study("alignment", measured, draw, settings)))
