"""Finished runs side by side: one line for the seeds of each config, and t-tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nasjax.analysis import runs
from nasjax.defaults import HOW
from nasjax.errors import UserError
from nasjax.folder import flat
from nasjax.significance import t_test

SAME = ("seed", "devices", "parallel", *HOW)  # runs that differ in these are one set


def sets(folders: Sequence[str]) -> dict[str, dict[int, dict[str, Any]]]:
    """name -> seed -> the result of the run.

    A set is all runs of one config but for its seed. Its name is the algorithm, with the
    fields in which sets of the same algorithm differ.

    Raises:
      UserError: a folder holds no finished run; two runs have the same config and seed;
        they are on other data.
    """
    found: list[tuple[dict[str, Any], dict[int, dict[str, Any]]]] = []
    for folder in folders:
        opened = runs.open_folder(folder)
        config, result = runs.config_of(opened), opened.read_outcome("result")
        if result is None:
            raise UserError(
                f"{folder} is not a finished run; start it again to go on with it, or "
                "leave it out."
            )
        fields = flat(config.to_dict())
        identity = {k: v for k, v in fields.items() if k not in SAME}
        own = next((one for known, one in found if known == identity), None)
        if own is None:
            own = {}
            found.append((identity, own))
        if config.seed in own:
            raise UserError(
                f"{folder} repeats seed {config.seed} of {config.algorithm}; give each "
                "run once."
            )
        own[config.seed] = result
    data = sorted({one["dataset"] for _, own in found for one in own.values()})
    if len(data) > 1:
        raise UserError(
            f"The runs are on {' and '.join(data)}; give runs on the same data."
        )
    every = [identity for identity, _ in found]
    return {_name(identity, every): own for identity, own in found}


def table(
    found: Mapping[str, Mapping[int, Mapping[str, Any]]],
    baseline: str = "",
    metric: str = "test_accuracy",
) -> str:
    """Markdown: seeds, mean and standard deviation in percent, and p-values.

    Args:
      found: from `sets`.
      baseline: the set that the others are tested against; empty: the first.
      metric: a number of result.json that is a fraction.

    Raises:
      UserError: there is no such set, or no such number.
    """
    baseline = baseline or next(iter(found))
    if baseline not in found:
        names = ", ".join(found)
        raise UserError(
            f"There is no set {baseline!r} among {names}; name one of them."
        )
    values = {name: _values(name, own, metric) for name, own in found.items()}
    lines = [
        f"| {metric.replace('_', ' ')} | seeds | mean ± standard deviation | best | "
        f"p against {baseline} | p, one sample |",
        "|---|---|---|---|---|---|",
    ]
    for name, own in values.items():
        spread = f" ± {100 * np.std(own, ddof=1):.2f}" if len(own) > 1 else ""
        tests = ["", ""]
        if name != baseline and min(len(own), len(values[baseline])) > 1:
            test = t_test(own, values[baseline])
            tests = [f"{p:.3g}" for p in (test.p_value, test.p_one_sample)]
        seeds = ", ".join(map(str, sorted(found[name])))
        lines.append(
            f"| {name} | {seeds} | {100 * np.mean(own):.2f}{spread} % | "
            f"{100 * max(own):.2f} % | {tests[0]} | {tests[1]} |"
        )
    lines += [
        "",
        "p: Welch's t-test, two-sided; one sample: the same with the baseline's mean "
        "taken for exact, as in SANAS, appendix K.",
    ]
    return "\n".join(lines)


def _values(
    name: str, own: Mapping[int, Mapping[str, Any]], metric: str
) -> list[float]:
    values = [own[seed].get(metric) for seed in sorted(own)]
    if not all(isinstance(value, float) for value in values):
        known = [k for k, v in next(iter(own.values())).items() if isinstance(v, float)]
        raise UserError(
            f"Not all runs of {name} have {metric!r}; their results hold "
            f"{', '.join(known)}."
        )
    return values  # type: ignore[return-value]


def _name(identity: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> str:
    kin = [one for one in every if one["algorithm"] == identity["algorithm"]]
    differing = [
        key for key in identity if any(one.get(key) != identity[key] for one in kin)
    ]
    return " ".join([identity["algorithm"], *(f"{k}={identity[k]}" for k in differing)])
