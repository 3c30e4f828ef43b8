"""A search that is watched, and is stopped or rolled back if it collapses.

`config.collapse.remedy`: "stop" is DARTS-ES and "adapt" is DARTS-ADA, of Zela et al.,
"Understanding and Robustifying Differentiable Architecture Search", ICLR 2020,
arXiv 1909.09656. `nasjax.collapse.early_stopping` determines the epochs of detection
and return. Both remedies work with any search.

A roll-back begins a new phase, "search_1", "search_2", ..., with a larger weight decay,
from a state that the previous phase kept. The history of a search is read from its
folder only, so a killed run resumes as if it had not been killed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from nasjax.collapse import verdict
from nasjax.collapse.early_stopping import DARTS_ES, Stop, adapt
from nasjax.core.errors import UserError
from nasjax.engine.checkpoint import Checkpoints
from nasjax.engine.loop import Outcome, run_phase
from nasjax.engine.optim import Hyper
from nasjax.engine.phase import Phase
from nasjax.engine.progress import Progress
from nasjax.engine.workdir import RunFolder
from nasjax.search import Search, SearchState

REMEDIES = ("none", "stop", "adapt")
Series = dict[int, float]  # epoch from 0 -> eigenvalue


class Searched(NamedTuple):
    """The result of a watched search.

    Attributes:
      search: the search with the last weight decay.
      state: the state whose alpha is the result.
      outcomes: the outcome of every phase.
      stops: the detected collapses, in order.
      evaluation: metrics of `state`.
      gradients: number of gradients of one batch that all phases evaluated.
    """

    search: Search
    state: SearchState
    outcomes: list[Outcome]
    stops: list[Stop]
    evaluation: dict[str, float]
    gradients: float


class Watch(NamedTuple):
    """The settings of a watched search.

    Attributes:
      remedy: one of `REMEDIES`.
      interval: number of epochs between two measurements of the eigenvalue.
      log_every: number of steps between two lines of the log.
      checkpoint_every: number of steps between two checkpoints.
    """

    remedy: str
    interval: int
    log_every: int
    checkpoint_every: int


def run(
    name: str,
    begin: Callable[[Hyper], Search],
    phase_of: Callable[[str, Hyper, float], Phase],
    hyper: Hyper,
    watch: Watch,
    folder: RunFolder,
    progress: Progress,
) -> Searched:
    """Runs a search to its end, or until its remedy stops it.

    Args:
      name: name of the first phase.
      begin: numbers, including the weight decay -> the search.
      phase_of: (name, numbers, gradients) -> the phase. gradients: the offset to add to
        the gradients that this search evaluates up to a step, counted from step 0.
      hyper: the numbers at the start of the run.
      watch: the settings of watching.
      folder: the folder of the run.
      progress: display that shows every step and every stop.

    Raises:
      UserError, Interrupted: as `run_phase`.
    """
    own, start = name, None
    earlier: Series = {}
    outcomes: list[Outcome] = []
    stops: list[Stop] = []
    gradients = 0.0
    while True:
        search = begin(hyper)
        begun = 0 if start is None else int(start.step)
        gradients -= search.gradients(begun)
        phase = phase_of(own, hyper, gradients)
        if start is not None:
            begin_there = functools.partial(lambda state: state, start)
            phase = phase._replace(start=int(start.step), init=begin_there)
        heavier = adapt(hyper.weight_decay) if watch.remedy == "adapt" else None
        watched = watch.remedy == "stop" or heavier is not None
        if watched:
            phase = _watched(phase, folder, earlier, watch)
        outcome = run_phase(
            phase, folder, progress, watch.checkpoint_every, watch.log_every
        )
        outcomes.append(outcome)
        gradients += search.gradients(int(outcome.state.step))
        stop = _stop(phase, folder, earlier) if watched else None
        if stop is None:
            found = outcome.state, outcomes, stops, outcome.metrics, gradients
            return Searched(search, *found)
        stops.append(stop)
        steps = (stop.epoch_returned + 1) * phase.steps_per_epoch
        start, evaluation = _kept(folder, name, len(stops), steps, phase)
        words = (
            f"{own}: the dominant eigenvalue of the Hessian grew too fast up to epoch "
            f"{stop.epoch_detected + 1}; back to epoch {stop.epoch_returned + 1}"
        )
        if heavier is None:
            progress.line(f"{words}, whose alpha is the result")
            found = start, outcomes, stops, evaluation, gradients
            return Searched(search, *found)
        progress.line(f"{words}, to continue with weight decay {heavier:g}")
        series = _series(folder, own, earlier)
        earlier = {e: value for e, value in series.items() if e <= stop.epoch_returned}
        hyper, own = hyper._replace(weight_decay=heavier), _nth(name, len(stops))


def latest(folder: RunFolder, name: str, decay: float) -> tuple[str, float]:
    """The (name, weight decay) of the newest phase of a watched search.

    decay: weight decay of the first phase.
    """
    count = 0
    while (folder.path / "checkpoints" / _nth(name, count + 1)).is_dir():
        decay, count = adapt(decay) or decay, count + 1
    return _nth(name, count), decay


def _nth(name: str, count: int) -> str:
    """The name of the phase after `count` roll-backs; `verdict.followed` parses it."""
    return f"{name}_{count}" if count else name


def _watched(phase: Phase, folder: RunFolder, earlier: Series, watch: Watch) -> Phase:
    """The phase with early stopping, which keeps the states that it may return to.

    Under "adapt" it keeps the states of all measured epochs, because a later roll-back
    may return to an earlier epoch.
    """
    interval = watch.interval
    back = DARTS_ES.lookback(interval) * phase.steps_per_epoch
    if watch.remedy == "adapt":
        back = phase.steps

    def keeps(step: int, newest: int) -> bool:
        epoch, rest = divmod(step, phase.steps_per_epoch)
        measured = not rest and (epoch - 1) % interval == 0
        return measured and epoch > DARTS_ES.first_epoch and newest - step <= back

    over = lambda: _stop(phase, folder, earlier) is not None
    return phase._replace(over=over, keeps=keeps)


def _stop(phase: Phase, folder: RunFolder, earlier: Series) -> Stop | None:
    series = _series(folder, phase.name, earlier)
    return verdict.detected(series, phase.steps // phase.steps_per_epoch)


def _series(folder: RunFolder, phase: str, earlier: Series) -> Series:
    """The eigenvalues of earlier phases, and the eigenvalues that this phase logged."""
    own = [line for line in folder.metrics() if line.get("phase") == phase]
    return earlier | verdict.eigenvalues(own)


def _kept(folder: RunFolder, name: str, count: int, step: int, phase: Phase) -> Any:
    """(state, its evaluation) of a step, from the last of the first `count` phases that
    has a checkpoint of it. Steps before a roll-back are in the phase rolled back."""
    abstract = phase.abstract()
    for back in reversed(range(count)):
        checkpoints = Checkpoints(folder.path / "checkpoints" / _nth(name, back))
        if step in checkpoints.steps():
            _, state, meta = checkpoints.restore(abstract, step)
            return state, meta["evaluation"]
    raise UserError(
        f"The search must return to step {step}, but {folder.path / 'checkpoints'} has "
        "no checkpoint of it; start again in a new folder with --workdir."
    )
