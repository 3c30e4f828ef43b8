"""The network of a genotype: trained from scratch and tested, as a config says."""

from __future__ import annotations

from typing import Any

import numpy as np

from nasjax.data import splits
from nasjax.engine.loop import run_phase
from nasjax.engine.optim import Hyper
from nasjax.engine.programs import NOTHING, Store
from nasjax.engine.progress import Progress
from nasjax.engine.workdir import RunFolder
from nasjax.experiment.build import Experiment
from nasjax.experiment.phases import retrain_phase, test_accuracy
from nasjax.nets import Model
from nasjax.spaces.genotype import Genotype
from nasjax.tasks.retrain import reweighting


def tested(
    experiment: Experiment, model: Model, variables, store: Store = NOTHING
) -> float:
    """Accuracy of a retrained network on the test part."""
    batch = experiment.config.retrain.batch
    return test_accuracy(
        model, variables, experiment.data.test, experiment.retrain_augment, batch,
        experiment.devices, store,
    )  # fmt: skip


def retrain(
    experiment: Experiment,
    name: str,
    genotype: Genotype,
    key,
    folder: RunFolder,
    progress: Progress,
    store: Store = NOTHING,
    first: Any = None,
):
    """The network and the outcome of its training."""
    config = experiment.config
    model, phase = retraining(experiment, name, genotype, key, store, first)
    outcome = run_phase(
        phase, folder, progress, config.checkpoint_every, config.log_every
    )
    return model, outcome


def retraining(
    experiment: Experiment,
    name: str,
    genotype: Genotype,
    key,
    store: Store = NOTHING,
    first: Any = None,
    abstract: bool = False,
):
    """The network of a genotype and its training as a phase; with the variables `first`,
    on what the network of those reweights. `abstract`: see `retrain_phase`."""
    config, data = experiment.config, experiment.data
    part = splits.Part(
        np.concatenate([data.weights.image, data.arch.image]),
        np.concatenate([data.weights.label, data.arch.label]),
    )
    settings, model = config.retrain, experiment.network(genotype)
    reweight = None
    if first is not None:
        reweight, _ = reweighting(model, experiment.attack, config.saliency.mode)
    phase = retrain_phase(
        name, experiment.training(model), part, experiment.retrain_augment,
        settings.batch, Hyper.of(settings), key, experiment.devices,
        store.of(genotype.to_json()), first, reweight, abstract,
    )  # fmt: skip
    return model, phase
