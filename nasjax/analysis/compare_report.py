"""The report of `nasjax compare`: tables, their numbers, and a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nasjax.analysis import anytime, commands, compare
from nasjax.core.files import write_text
from nasjax.experiment.outcome import described
from nasjax.tasks.base import Metric

COST = {
    "search_seconds": ("search, s", "{:.0f}"),
    "compile_seconds": ("compiling, s", "{:.0f}"),
    "gradient_evaluations": ("gradients", "{:,.0f}"),
}
SIGNALS = {
    "kept_skips": ("skips", "{:.2f}"),
    "parameter_free": ("no parameters", "{:.2f}"),
    "width": ("width, c", "{:.2f}"),
    "depth": ("depth", "{:.2f}"),
    "entropy": ("entropy, nats", "{:.3f}"),
    "eigenvalue": ("eigenvalue", "{:.3g}"),
}
TESTS = (
    "Difference: mean of ours minus theirs over the seeds of both, with Student's "
    "interval. Better: share of seeds in which ours is better, equal ones counting "
    "half (probability of superiority), with the interval of Clopper and Pearson. "
    "Intervals are of 95 %. p: Wilcoxon's signed-rank test, exact, two-sided; Holm: "
    "corrected for the number of rows."
)
POPULATION = (
    "Percentile: percentage of all architectures of the table that have a lower "
    "accuracy, mean over the seeds (lowest to highest); it is the probability that a "
    "random architecture is worse. all: all {:,} architectures; all, 5 %: their quantile."
)
COLUMNS = (
    "Means over the seeds. Compiling includes the programs of retraining; gradients: "
    "evaluations of one batch's gradient in the search. Skips and no parameters: "
    "shares of skip connections and of operators without parameters in the "
    "architecture found; width and depth: of its cells; entropy: of alpha; eigenvalue: "
    "the dominant one of the validation loss's Hessian over alpha, at its last "
    "measurement."
)


TESTED = (
    "Found and random cells are trained and tested in the same way; all seeds together. "
    "Standard error: of a test with this number of examples. p: one-sided, of the "
    "ranks of found among the random cells of the same seed."
)


def study(
    folders: Sequence[str],
    baseline: str = "",
    metrics: Sequence[str] = (),
    output: str | None = None,
    against: Mapping[str, str] | None = None,
) -> str:
    """Compares runs; returns Markdown.

    Args:
      folders: folders of runs, or folders that contain runs.
      baseline, metrics, against: see `nasjax.analysis.compare.measure`.
      output: folder to write compare.md, compare.json and compare.png into.

    Raises:
      UserError: the runs cannot be compared, or the files cannot be written.
    """
    chosen, left = compare.find(folders)
    found = compare.sets(chosen)
    report = compare.measure(found, baseline, metrics, against)
    report["left_out"] = left
    text = markdown(report)
    if output is None:
        return text
    folder = commands.folder(output)
    commands.write(folder / "compare.json", report)
    names = next(iter(report["sets"].values()))["metrics"]
    drawn = anytime.draw(found, [*names], folder / "compare.png")
    picture = "\n\n![Accuracy and a sign of collapse during the search](compare.png)"
    write_text(folder / "compare.md", f"{text}{picture * drawn}\n")
    files = ["compare.md", "compare.json", *["compare.png"] * drawn]
    return f"{text}\n\nwritten: {', '.join(str(folder / name) for name in files)}"


def markdown(report: Mapping[str, Any]) -> str:
    """The report of `nasjax.analysis.compare.measure` as tables.

    There are two tables for each metric, values and tests, and one of cost and collapse.
    A dash stands for a number that there is not.
    """
    every, shared = report["sets"], report["shared_seeds"]
    known, parts, notes = report["all_architectures"], [], []
    if shared:
        notes.append(f"Mean rank: 1 is the best, over seeds {_seeds(shared)}.")
    if known:
        notes.append(POPULATION.format(next(iter(known.values()))["count"]))
    for metric, form in report["forms"].items():
        parts.append(_scores(metric, form, every, known.get(metric)))
        if tests := _tests(metric, form, every):
            parts.append(tests)
    if tests:
        notes.append(TESTS)
    parts += [" ".join(notes), " ".join(report["unpaired"])]
    parts += [*_tested(every), _costs(every), COLUMNS]
    if report.get("left_out"):
        parts.append(f"Left out, not finished: {', '.join(report['left_out'])}")
    return "\n\n".join(part for part in parts if part)


def _scores(
    metric: str,
    form: str,
    every: Mapping[str, Mapping[str, Any]],
    known: Mapping[str, Any] | None,
) -> str:
    """A table of a metric.

    form: of its values, for `str.format`. known: of all architectures, or None.
    """
    header = [
        metric.replace("_", " "), "seeds", "mean ± standard deviation", "median", "best",
        "mean rank", *["percentile"] * bool(known),
    ]  # fmt: skip
    show = lambda value: _merged(form.format(value))
    rows = []
    for name, own in every.items():
        one = own["metrics"][metric]
        row = [
            name,
            _seeds(own["seeds"]),
            _spread(one, form),
            show(one["median"]),
            show(one["best"]),
            _number(one["mean_rank"], "{:.2f}"),
        ]
        if known:
            each = one["percentiles"].values()
            mean = f"{sum(each) / len(each):.1f}"
            reach = f" ({min(each):.1f} to {max(each):.1f})" if len(each) > 1 else ""
            row.append(mean + reach)
        rows.append(row)
    if known:
        quantiles = {
            percent: show(value) for percent, value in known["quantiles"].items()
        }
        best = show(known["best"])
        rows.append(
            ["all", "-", _spread(known, form), quantiles.pop(50), best, "-", "50.0"]
        )
        rows += [
            [f"all, {percent} %", "-", "-", value, "-", "-", f"{percent:.1f}"]
            for percent, value in quantiles.items()
        ]
    return _table(header, rows)


def _spread(one: Mapping[str, Any], form: str) -> str:
    deviation = one["deviation"]
    spread = "" if deviation is None else f" ± {form.format(deviation)}"
    return _merged(form.format(one["mean"]) + spread)


def _tests(metric: str, form: str, every: Mapping[str, Mapping[str, Any]]) -> str:
    """A table of the comparisons of sets; empty without any."""
    signed = lambda x: f"{'+' if x >= 0 else ''}{form.format(x)}"
    rows = []
    for name, own in every.items():
        one = own["metrics"][metric]["paired"]
        if one is None:
            continue
        low, high = (signed(x) for x in one["interval"])
        share = one["superiority_interval"]
        rows.append(
            [
                name,
                one["against"],
                str(len(one["seeds"])),
                _merged(f"{signed(one['difference'])} ({low} to {high})"),
                _merged(f"{one['superiority']:.0%} ({share[0]:.0%} to {share[1]:.0%})"),
                f"{one['p_value']:.3g}",
                f"{one['p_holm']:.3g}",
            ]
        )
    header = [
        metric.replace("_", " "), "against", "pairs", "difference", "better", "p", "Holm"
    ]  # fmt: skip
    return _table(header, rows) if rows else ""


def _tested(every: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A table of found beside random cells, and a note; none without a test."""
    held = {name: own["test"] for name, own in every.items() if own["test"]["found"]}
    if not held:
        return []
    metric = Metric(**next(iter(held.values()))["metric"])
    rows = []
    for name, one in held.items():
        error = one["standard_error"]
        difference = one["difference"]
        rows.append(
            [
                name,
                described(one["found"], metric.text),
                described(one["random"], metric.text) if one["random"] else "-",
                _number(one["examples"], "{:,}"),
                _number(error, "{:.1%}"),
                "-" if difference is None else metric.form.format(difference),
                _number(one["p_above_random"], "{:.3g}"),
                one["judgement"] or "-",
            ]
        )
    header = [
        f"test {metric.name}", "found", "random cells", "test examples",
        "standard error", "difference", "p", "reading",
    ]  # fmt: skip
    return [_table(header, rows), TESTED]


def _merged(text: str) -> str:
    """With one percent sign, at the end.

    >>> _merged("99.16% ± 0.28%"), _merged("3.2 ± 0.1")
    ('99.16 ± 0.28 %', '3.2 ± 0.1')
    """
    return f"{text.replace('%', '')} %" if "%" in text else text


def _costs(every: Mapping[str, Mapping[str, Any]]) -> str:
    columns = {**COST, **SIGNALS}
    rows = []
    for name, own in every.items():
        known = {**own["cost"], **own["signals"]}
        rows.append(
            [name, *(_number(known[k]["mean"], own) for k, (_, own) in columns.items())]
        )
    return _table(
        ["cost and collapse", *(title for title, _ in columns.values())], rows
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _seeds(seeds: Sequence[int]) -> str:
    """Sorted seeds; four or more in a row as a range.

    >>> _seeds([0, 1, 2, 5, 6, 7, 8])
    '0, 1, 2, 5-8'
    """
    rows: list[list[int]] = []
    for seed in seeds:
        if not rows or seed != rows[-1][-1] + 1:
            rows.append([])
        rows[-1].append(seed)
    return ", ".join(
        f"{row[0]}-{row[-1]}" if len(row) > 3 else ", ".join(map(str, row))
        for row in rows
    )


def _number(value: float | None, pattern: str) -> str:
    return "-" if value is None else pattern.format(value)
