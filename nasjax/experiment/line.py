"""The few numbers of a log line that a person reads; `metrics.jsonl` has them all."""

from __future__ import annotations

from collections.abc import Mapping

from nasjax.tasks.base import Metric

LONGEST = 24  # characters of a metric's name, so that a line fits in 100 columns


def words(metrics: Mapping[str, float | None], metric: Metric) -> list[str]:
    """At most three numbers: training loss, the domain's metric, entropy of alpha.

    Args:
      metrics: a line of the log. The metric is that of the validation if the line has
        one, else that of the training batch. The entropy is the mean over cell types.
      metric: of the domain.

    >>> accuracy = Metric("accuracy", True, "{:.2%}")
    >>> words({"loss": 0.5, "accuracy": 0.75, "val_loss": 0.25}, accuracy)
    ['train loss 0.5', 'train accuracy 75.00%']
    >>> words({"loss": 0.5, "valid_accuracy": 0.75, "entropy_normal": 2.0}, accuracy)
    ['train loss 0.5', 'valid accuracy 75.00%', 'entropy of alpha 2.000']
    """
    found = []
    if "loss" in metrics:
        found.append(f"train loss {_text(metrics['loss'], '{:.4g}')}")
    name = metric.name
    short = name if len(name) <= LONGEST else f"{name[: LONGEST - 3]}..."
    for part, key in (("valid", f"valid_{name}"), ("train", name)):
        if key in metrics:
            found.append(f"{part} {short} {_text(metrics[key], metric.form)}")
            break
    entropies = [
        value
        for key, value in metrics.items()
        if key.startswith("entropy_") and value is not None
    ]
    if entropies:
        found.append(f"entropy of alpha {sum(entropies) / len(entropies):.3f}")
    return found


def _text(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
