"""A supernet that is kept: trained again at fixed mixing weights, or discretised.

    python results/claims/kept.py runs/nasbench201/{darts_first,amended}_?

Bi et al. (arXiv 1910.11831, appendix A.1): with the amending term, the error of a
supernet that is trained again without discretising falls from 12.8 % (validation, in
the search) and 7.4 % (test, trained again) to 10.5 and 5.4 %. Here the supernet of
every run is trained again from new weights on its weights' half, for the epochs of the
search, with alpha at rest: at the mixing weights of the run, and at their
architecture as one-hot weights. Both are tested on alpha's half, which no weights have
seen, and on the test images, which alpha has not seen either.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from shared import COLOURS, described, study

from nasjax.analysis import runs
from nasjax.core.keys import derive
from nasjax.plots.style import clean, new_figure, save
from nasjax.search.bilevel import trained
from nasjax.tasks.base import At, Network


def accuracy(run: runs.Run, mix, epochs: int) -> dict[str, float]:
    """Accuracies after training at fixed mixing weights."""
    problem = run.search.problem
    halves = jax.tree.map(jnp.asarray, dict(run.experiment.domain.halves))
    key = derive(jax.random.key(run.experiment.config.seed), "again")
    training = problem.training
    optimizer = training.optimizer(training.rate)

    @jax.jit
    def start():
        return problem.network(derive(key, "weights"))

    @jax.jit
    def step(network, mix, index):
        own = derive(key, "batch", index)
        batch = problem.task.draw(halves["weights"], own, index, derive(key, "order"))
        batch |= {"at": At(), "batch_stats": network.batch_stats}
        return trained(problem.with_aux, optimizer, network, mix, batch)[0]

    network: Network = start()
    for index in range(epochs * training.steps_per_epoch):
        network = step(network, mix, index)
    measure = jax.jit(problem.task.measure)
    parts = {"valid": halves["arch"], "test": runs.images_of(run).data.test._asdict()}
    return {
        name: float(measure(network.w, network.batch_stats, mix, part)["accuracy"])
        for name, part in parts.items()
    }


def measured(run: runs.Run) -> dict:
    """The measures of one run."""
    mix = run.search.mix(run.state)
    chosen = run.search.problem.relaxation.choose(mix, run.search.problem.space, None)
    epochs = int(run.search.problem.training.epochs)
    result = run.folder.read_outcome("result") or {}
    return described(run) | {
        "search": {"valid": result["supernet_valid_accuracy"]},
        "kept": accuracy(run, mix, epochs),
        "discretised": accuracy(run, chosen, epochs),
    }


def draw(rows: list[dict], path: Path) -> None:
    """Accuracy of every run on alpha's half: in the search, kept, discretised."""
    figure = new_figure((6.4, 3.6), layout="constrained")
    axes, kinds = figure.subplots(), ("search", "kept", "discretised")
    names = list(dict.fromkeys(row["algorithm"] for row in rows))
    for name, colour in zip(names, COLOURS, strict=False):
        own = [
            [100 * row[k]["valid"] for k in kinds]
            for row in rows
            if row["algorithm"] == name
        ]
        axes.plot(kinds, np.transpose(own), "o-", color=colour, lw=0.6, ms=3, alpha=0.5)
        axes.plot(kinds, np.mean(own, 0), "o-", color=colour, lw=2, label=name)
    axes.set_ylabel("accuracy on alpha's half, %")
    axes.legend(fontsize=8)
    clean(axes)
    save(figure, path)


if __name__ == "__main__":
    study("kept", measured, draw)
