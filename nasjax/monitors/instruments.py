"""Instruments: what tells that a search collapses, measured while it goes on.

Zela et al., arXiv 1909.09656: searches fail when the dominant eigenvalue of the Hessian
of the validation loss in alpha grows. Chen and Hsieh, arXiv 2002.05283, eq. 5: then the
accuracy falls when the supernet is discretised. Both are measured here, by exact
Hessian-vector products; what costs nothing is in `nasjax.tasks.metrics.mixing`.

Deviations: the authors take the whole Hessian on the last validation batch of training,
and add alpha's weight decay to its diagonal. Here the batch is one of its own, neither
cropped nor flipped, and the ends of the spectrum are Lanczos's; `error` says how well
they are known.
"""

from __future__ import annotations

from collections.abc import Callable

from jax import Array

from nasjax.core.keys import derive, per_example
from nasjax.data.augment import Augment, prepare, random_indices
from nasjax.hypergrad import curvature
from nasjax.search import Problem, Search
from nasjax.search.losses import accuracy, cross_entropy
from nasjax.search.relax import discretised


def instruments(
    problem: Problem, search: Search, augment: Augment, settings
) -> Callable:
    """A function that measures a search on a batch of validation images.

    Batch norm uses the moments of the batch: those of the supernet would be wrong for
    its discretised self.

    Args:
      problem: whose supernet and space are taken.
      search: how alpha becomes mixing weights.
      augment: of which the normalisation is taken.
      settings: images (of the batch), products (Lanczos's steps), probes (of the trace).

    Returns:
      (state, part) -> scalars. eigenvalue, eigenvalue_strongest (largest in magnitude)
      and eigenvalue_error are `curvature.Extremes`; hessian_trace is Hutchinson's
      estimate; mixed_accuracy and discretised_accuracy are of the same images, before
      and after alpha is discretised.
    """
    model = (problem.whole or problem).model
    chosen = discretised(problem.space)

    def measure(state, part) -> dict[str, Array]:
        key = derive(state.key, "instruments", state.step)
        count = part["label"].shape[0]
        size = min(settings.images, count)
        index = random_indices(derive(key, "index"), size, count)
        images, label = (
            prepare(part["image"][index], None, augment),
            part["label"][index],
        )
        variables = {"params": state.w, "batch_stats": state.batch_stats}
        noise = per_example(derive(key, "network"), size)

        def logits(mix):
            out, _ = model.apply(variables, mix, images, train=True, key=noise)
            return out.logits

        def loss(arch):
            return cross_entropy(logits(search.mix(arch)), label)

        ends, trace = curvature.glance(
            loss,
            state.arch,
            derive(key, "curvature"),
            settings.products,
            settings.probes,
        )
        mix = search.mix(state.arch)
        return {
            "eigenvalue": ends.largest,
            "eigenvalue_strongest": ends.strongest,
            "eigenvalue_error": ends.error,
            **({"hessian_trace": trace.mean} if settings.probes else {}),
            "mixed_accuracy": accuracy(logits(mix), label),
            "discretised_accuracy": accuracy(logits(chosen(mix, None)), label),
        }

    return measure
