"""A run: search -> discretise -> retrain -> test.

Random architectures are retrained as well, for comparison. A run of `config.genotype`
has no search. `config.seeds` makes several runs, see `nasjax.experiment.seeds`.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from nasjax.core.errors import needing
from nasjax.engine.compiling import compiled_programs
from nasjax.engine.progress import Callback, Progress
from nasjax.engine.signals import signals
from nasjax.experiment import architecture, report, seeds
from nasjax.experiment.build import build
from nasjax.experiment.single import complete, opened, store_of


def run(
    config: ConfigDict,
    workdir: str | Path,
    progress: Progress | None = None,
    command: str | None = None,
    code: str | None = None,
    data: Any = None,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Searches, discretises, retrains and tests; the same call again resumes.

    Args:
      config: config from a `get_config`; `nasjax.experiment.defaults` has its fields.
      workdir: folder of the run; it is created if it does not exist.
      progress: display of the progress; plain lines on standard output by default.
      command: command line to record in the manifest.
      code: identifier of the running code (`programs.code`). With it, programs that
        were compiled before are found without tracing them.
      data: arrays instead of the files of `config.data`: (image, label) or
        {"image": image, "label": label}, or two of these in a tuple, for the search and
        for the test; see `nasjax.data.memory.read`. The folder of a run refuses other
        arrays than those that it was started with.
      callbacks: functions (phase, step, metrics), called with every line of the log;
        metrics is a dictionary of numbers by name, None where one is not finite. An
        exception in a callback ends the run after a checkpoint is written.

    Returns:
      The content of `result.json`: "algorithm", "estimator", "seed", "dataset",
      "classes" (names, in the order of the logits),
      "genotype", "metric" (its name, such as accuracy, stands in the names that follow),
      "test_accuracy" (mean over `config.retrain.seeds` trainings), "test_accuracy_each"
      (of each training), "random_test_accuracy" and "random_test_accuracy_each" (the
      same over random architectures), "test_examples" (number of examples of the test),
      "params", "macs" (of the network that is tested), "params_training" (with the
      auxiliary head),
      "reweighted_test_accuracy" (null without config.retrain.reweighted),
      "true_accuracy" (null without a table, see nasjax.spaces.table), "readings"
      ("with_none" and "without_none": "genotype" and "true_accuracy" of alpha read so;
      null where only one is possible), "supernet_valid_accuracy",
      "stops" (see `nasjax.collapse.rollback`), "gradient_evaluations" (number of
      gradients of one batch in the search; conjugate gradients count with their largest
      number of steps), "seconds", "interrupted". Accuracies are fractions. Means of
      retrained networks are null without retraining. Without a search, "algorithm" is
      "retrain", and its measures are null, empty or 0.
      With `config.seeds` above 1: {"seeds": such a dictionary for each seed}, by the
      seed as text; metrics of callbacks have the "seed" then.

    Raises:
      UserError: bad input, or a package is missing; nothing has been written or lost.
      nasjax.engine.signals.Interrupted: a signal arrived; a checkpoint was written.
    """
    with needing("nasjax.run"):  # now, not when the report is written
        for package in ("jinja2", "matplotlib", "rich"):
            importlib.import_module(package)
    progress = progress or Progress()
    progress.callbacks = tuple(callbacks)
    if len(seeds.asked(config)) > 1:
        return seeds.run(config, workdir, progress, command, code, data)
    experiment = build(architecture.as_begun(config, workdir), data)
    cache, given = experiment.config.compile_cache, {"command": command}
    if config.genotype:
        given["genotype"] = config.genotype
    with (
        signals(command),
        compiled_programs(cache, by_jax=code is None) as compiled,
        opened(experiment, workdir, given) as folder,
    ):
        store = store_of(experiment, compiled, code)
        if folder.finished:
            progress.line(f"This run is finished; {folder.path} holds its result.")
        else:
            with progress.waiting("estimating the duration", announced=False):
                opening = report.opening(experiment, folder.path, store)
            progress.line("\n".join(opening))
        result = complete(experiment, folder, progress, store)
        progress.line(report.closing(result, folder.path))
        return result
