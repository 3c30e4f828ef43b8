"""The network of a genotype: trained from scratch as a config says."""

from __future__ import annotations

import functools
from typing import Any

from nasjax.engine.loop import Outcome, run_phase
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import NOTHING, Store
from nasjax.engine.progress import Progress
from nasjax.engine.workdir import RunFolder
from nasjax.experiment import line
from nasjax.experiment.build import Experiment
from nasjax.experiment.phases import retrain_phase
from nasjax.spaces.genotype import Genotype
from nasjax.tasks.base import Retraining


def retrain(
    experiment: Experiment,
    name: str,
    genotype: Genotype,
    key,
    folder: RunFolder,
    progress: Progress,
    store: Store = NOTHING,
    first: Any = None,
) -> tuple[Retraining, Outcome]:
    """The network and the outcome of its training.

    Args:
      experiment: data and settings.
      name: of the phase.
      genotype: the architecture.
      key: of the training.
      folder: of the run; a phase that was interrupted resumes from it.
      progress: shows every step.
      store: of compiled programs.
      first: variables of another network, by whose saliency images are reweighted.
    """
    config, retraining = experiment.config, experiment.retraining(genotype, first)
    phase = retrain_phase(
        name, retraining, Hyper.of(config.retrain), key, experiment.devices,
        store.of(genotype.to_json()),
    )  # fmt: skip
    phase = phase._replace(
        words=functools.partial(line.words, metric=experiment.domain.metric)
    )
    outcome = run_phase(
        phase, folder, progress, config.checkpoint_every, config.log_every
    )
    return retraining, outcome
