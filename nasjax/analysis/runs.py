"""The folder of a run as objects: experiment, newest search state, objective."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from ml_collections import ConfigDict

from nasjax.collapse import rollback, verdict
from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.engine.checkpoint import Checkpoints
from nasjax.engine.workdir import RunFolder
from nasjax.experiment import architecture
from nasjax.experiment.build import Experiment, build
from nasjax.nets import Model
from nasjax.spaces.genotype import Genotype
from nasjax.tasks.classification import Classification
from nasjax.zeroth import lookahead


class Run(NamedTuple):
    """A search as it stands in its folder.

    Attributes:
      experiment: rebuilt from config.json, on one device.
      search: search of the stage that `state` belongs to; None if a given architecture
        was trained.
      state: state of the newest checkpoint; after early stopping, the state it chose.
      folder: folder of the run, for reading; it is not locked.
      stage: name of the stage; "search" for the last stage.
    """

    experiment: Experiment
    search: Any
    state: Any
    folder: RunFolder
    stage: str


def load(workdir: str | Path, finished: bool = True, given: bool = False) -> Run:
    """Reads the folder of a run; nothing is written.

    Args:
      workdir: the folder.
      finished: refuse a search that has not ended. Otherwise the newest checkpoint is
        taken, even if the run is in progress.
      given: accept a run that trained a given architecture.

    Raises:
      UserError: there is no run, it cannot be rebuilt from its config, or its search
        has no checkpoint or has not ended.
    """
    folder = RunFolder.read(workdir)
    experiment = _experiment(folder)
    if experiment.genotype and given:
        return Run(experiment, None, None, folder, "")
    if experiment.genotype:
        raise UserError(
            f"{folder.path} trained a given architecture, without a search; give the "
            "folder of a search."
        )
    previous, newest = None, None
    stages = experiment.algorithm.stages
    for stage in stages:
        hyper = experiment.hyper(stage)
        own, decay = rollback.latest(folder, stage.name, hyper.weight_decay)
        hyper = hyper._replace(weight_decay=decay)
        search = experiment.begin(stage, previous, hyper)
        checkpoints = Checkpoints(folder.path / "checkpoints" / own)
        if checkpoints.latest() is None:
            break
        newest = (search, checkpoints, stage.name)
        previous = folder.read_outcome(stage.outcome)
        if previous is None:
            break
    if newest is None:
        raise UserError(
            f"The search in {folder.path} has no checkpoint yet; run the command that "
            "started it for longer."
        )
    if finished and not (folder.path / f"{stages[-1].outcome}.json").exists():
        raise UserError(
            f"The search in {folder.path} is not finished; resume it with the command "
            f"that started it: {folder.manifest.get('command')}"
        )
    search, checkpoints, name = newest
    abstract = jax.eval_shape(search.init, jax.random.key(0))
    step = None
    if experiment.config.collapse.remedy == "stop":
        seen = verdict.eigenvalues(verdict.followed(folder.metrics(), name))
        training = search.problem.training
        stop = verdict.detected(seen, training.epochs)
        step = stop and (stop.epoch_returned + 1) * training.steps_per_epoch
    _, state, _ = checkpoints.restore(abstract, step)
    return Run(experiment, search, state, folder, name)


def retrained(run: Run, phase: str = "retrain") -> tuple[Model, dict[str, Any]] | None:
    """The network of the run's genotype and its variables, if it has been retrained.

    Args:
      run: run whose network is read.
      phase: "retrain", or "reweighted" for SANAS' second network.
    """
    made, found = run.experiment, run.folder.read_outcome("genotype")
    checkpoints = Checkpoints(run.folder.path / "checkpoints" / phase)
    if found is None or checkpoints.latest() is None:
        return None
    space = run.search.problem.space if run.search else made.space
    genotype = Genotype.from_json(found, space)
    retraining, epochs = made.retraining(genotype), made.config.retrain.epochs
    if checkpoints.latest() != epochs * retraining.steps_per_epoch:
        return None
    model = images_of(run).model(genotype, made.space, made.devices.axis)
    abstract = jax.eval_shape(retraining.init, jax.random.key(0))
    _, state, _ = checkpoints.restore(abstract)
    return model, state.variables


def images_of(run: Run) -> Classification:
    """The images of a run, and the networks that classify them.

    Raises:
      UserError: the run is on data of another kind.
    """
    domain = run.experiment.domain
    if not isinstance(domain, Classification):
        raise UserError(
            f"{run.folder.path} is a run on {domain.name}; this study needs a run on "
            "images."
        )
    return domain


def config_of(folder: RunFolder) -> ConfigDict:
    """The config of a run; fields that its version lacked have their defaults of today.

    Raises:
      UserError: the config has another format.
    """
    return architecture.of_run(folder.path)


def _experiment(folder: RunFolder) -> Experiment:
    config = config_of(folder)
    try:
        # The results do not depend on how the run was split over devices.
        config.update(devices=1, parallel="jit")
        config.space.table = ""  # the file may be gone, and it changes nothing
        return build(config)
    except UserError as error:
        raise UserError(f"{folder.path} cannot be rebuilt: {error}") from error


def objective(run: Run, rate: float) -> Callable:
    """L(alpha) after any number of inner steps, the objective of ZARTS.

    Args:
      run: run whose supernet, losses and optimiser are used.
      rate: learning rate of the inner steps. Momentum, weight decay and clipping are
        taken from the run; the optimiser starts in its initial state.

    Returns:
      (alpha, w, train_batches [M, ...], val_batch) -> scalar; see
      `nasjax.zeroth.lookahead`.
    """
    problem = run.search.problem
    if not problem.relaxation.continuous:
        raise UserError(
            f"{run.folder.path} searched by moving between architectures, so its loss is "
            "no function of a continuous alpha; give a run of another algorithm."
        )
    return lookahead(problem.train, problem.val, problem.training.optimizer(rate))


def batches(run: Run, key: Array, steps: int, images: int) -> tuple[Any, Any]:
    """Training batches [steps, ...] and one validation batch, for `objective`.

    Training batches have the size and augmentation of the search, and come from the
    part that w trains on. The validation images are neither cropped nor flipped.

    Args:
      run: run whose data are used.
      key: random key of all draws.
      steps: M, number of training batches.
      images: size of the validation batch, at most all images.
    """
    halves, problem = run.experiment.domain.halves, run.search.problem
    halves = jax.tree.map(jnp.asarray, dict(halves))
    last = run.state._replace(step=jnp.maximum(run.state.step - 1, 0))  # as it was read

    def train(own: Array):
        batch = problem.task.draw(halves["weights"], own, run.state.step, None)
        return problem.placed(batch, last, derive(own, "mix"))

    size = min(images, examples(run))
    val = problem.task.clean(halves["arch"], derive(key, "validation"), size)
    keys = jax.random.split(derive(key, "look-ahead batches"), steps)
    val = problem.placed(val, last, derive(key, "val mix"))
    return jax.vmap(train)(keys), val


def examples(run: Run) -> int:
    """Number of examples that alpha is searched on."""
    return len(jax.tree.leaves(run.experiment.domain.halves["arch"])[0])
