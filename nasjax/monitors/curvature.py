"""The curvature over alpha during a search, and the effect of discretising on accuracy.

Zela et al., arXiv 1909.09656: searches fail when the dominant eigenvalue of the Hessian
of the validation loss in alpha grows. Chen and Hsieh, arXiv 2002.05283, eq. 5: accuracy
then falls when the supernet is discretised. This monitor measures both, with exact
Hessian-vector products. Signals that cost little are in `monitors.alpha`.

Deviations: the authors compute the full Hessian on the last validation batch of
training and add alpha's weight decay to its diagonal. Here the batch is a separate one,
neither cropped nor flipped, and Lanczos's method estimates the ends of the spectrum,
with the error eigenvalue_error.
"""

from __future__ import annotations

import jax
from jax import Array

from nasjax.core.keys import derive
from nasjax.hypergrad.curvature import extremes_and_trace
from nasjax.monitors.base import Monitor
from nasjax.search import Search
from nasjax.tasks.base import At


def curvature(
    search: Search,
    every: int,
    images: int,
    products: int,
    probes: int,
) -> Monitor:
    """Measures a search on a batch of validation images.

    Batch norm uses the moments of the batch: those of the supernet would be wrong for
    its discretised self. eigenvalue, eigenvalue_strongest (largest in magnitude) and
    eigenvalue_error are `curvature.Extremes`; hessian_trace is Hutchinson's estimate;
    mixed_ and discretised_ of every score are of the same images, before and after
    alpha is discretised.

    Args:
      search: whose supernet is measured, on every device alike.
      every: epochs between two measurements.
      images: in the batch.
      products: Lanczos's steps.
      probes: of the trace; 0: no trace.
    """
    problem = search.problem.split("candidates")
    relaxation, task = problem.relaxation, problem.task

    def measure(state, part) -> dict[str, Array]:
        key = derive(state.key, "curvature", state.step)
        size = min(images, len(jax.tree.leaves(part)[0]))
        at = search.at(state)
        batch = task.clean(part, key, size)
        batch |= {"batch_stats": state.batch_stats, "at": At()}  # without drop path

        def outputs(mix):
            return task.outputs(state.w, mix, batch, True)[0]

        def loss(arch):
            return task.criterion(outputs(relaxation.mix(arch, at)), batch)

        def scores(name, mix):
            found = task.scores(outputs(mix), batch)
            return {f"{name}_{metric}": value for metric, value in found.items()}

        ends, trace = extremes_and_trace(
            loss, state.arch, derive(key, "curvature"), products, probes
        )
        mix = relaxation.mix(state.arch, at)
        chosen = relaxation.choose(mix, problem.space, None)
        return {
            "eigenvalue": ends.largest,
            "eigenvalue_strongest": ends.strongest,
            "eigenvalue_error": ends.error,
            **({"hessian_trace": trace.mean} if probes else {}),
            **scores("mixed", mix),
            **scores("discretised", chosen),
        }

    return Monitor("curvature", every, measure)
