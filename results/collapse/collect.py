"""The study's numbers and figure, from the folders of its runs.

    python results/collapse/collect.py runs/collapse

See docs/collapse.md for the commands that made the runs.
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from nasjax.collapse import verdict
from nasjax.experiment import pictures, recorded
from nasjax.monitors.alpha import base_rate

HERE = Path(__file__).parent
NAMES = {
    "darts_first": "DARTS, first order",
    "sdarts_rs": "SDARTS-RS",
    "sdarts_adv": "SDARTS-ADV",
    "zarts_mgs": "ZARTS-MGS",
    "darts_stop": "DARTS-ES",
    "darts_adapt": "DARTS-ADA",
}
COLOURS = ("#000000", "#56B4E9", "#0072B2", "#D55E00", "#CC79A7", "#009E73")
SEEDS = (0, 1, 2)


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def collected(root: Path) -> dict:
    """algorithm -> seed -> what its run and its convergence study say."""
    found: dict = {}
    for name in NAMES:
        for seed in SEEDS:
            folder = root / f"{name}_{seed}"
            if not (folder / "result.json").exists():
                continue
            text = (folder / "metrics.jsonl").read_text().splitlines()
            lines = verdict.followed([json.loads(line) for line in text])
            result, epochs = read(folder / "result.json"), 40
            own = {
                kind: dict(zip(*map(np.ndarray.tolist, verdict.series(lines, kind)), strict=True))
                for kind in (
                    "eigenvalue", "hessian_trace", "parameter_free_normal",
                    "parameter_free_reduce", "valid_accuracy",
                )
            }  # fmt: skip
            retrained = {epochs: result["test_accuracy"]}
            if (folder / "convergence.json").exists():
                rows = read(folder / "convergence.json")["epochs"]
                retrained |= {row["epoch"]: row["test_accuracy"] for row in rows}
            space = pictures.searched(recorded.read(folder).space, lines)
            judged = verdict.verdict(lines, epochs, base_rate(space))
            found.setdefault(name, {})[seed] = {
                "verdict": judged.word,
                "early_stopping": judged.stop and judged.stop._asdict(),
                "stops": result.get("stops", []),
                "retrained": retrained,
                "genotype": result["genotype"],
                "image_reaches_classifier": reaches(result["genotype"]),
                "parameters": result["params"],
                "seconds": result["seconds"],
                **own,
            }
    return found


def free(run: dict, epoch: int) -> float:
    """Share of operators without parameters, over both cells."""
    return (
        run["parameter_free_normal"][epoch] + run["parameter_free_reduce"][epoch]
    ) / 2


def noise(run: dict, kind: str) -> int:
    """How many of the 8 operators of a found cell are noise."""
    return sum(op == "noise" for op, _ in run["genotype"][kind])


def reaches(genotype: dict) -> bool:
    """Whether an image reaches the classifier of the 3 retrained cells but as noise."""
    states = [True, True]
    for kind in ("normal", "reduce", "reduce"):
        nodes = list(states)
        for node in range(4):
            pairs = genotype[kind][2 * node : 2 * node + 2]
            nodes.append(any(op != "noise" and nodes[source] for op, source in pairs))
        states = [states[1], any(nodes[2:])]
    return states[1]


def draw(found: dict) -> None:
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for place, ((name, runs), colour) in enumerate(
        zip(found.items(), COLOURS, strict=False)
    ):
        each = list(runs.values())
        for axes, values in (
            (left, [run["eigenvalue"] for run in each]),
            (
                middle,
                [
                    {e: free(run, e) for e in run["parameter_free_normal"]}
                    for run in each
                ],
            ),
        ):
            for own in values:
                axes.plot(
                    list(own), list(own.values()), color=colour, lw=0.8, alpha=0.35
                )
            epochs = sorted(set.intersection(*map(set, values)))
            mean = [np.mean([own[epoch] for own in values]) for epoch in epochs]
            axes.plot(epochs, mean, color=colour, lw=2, label=NAMES[name])
        for run in each:
            points = sorted(run["retrained"].items())
            x = [place + 0.25 * (epoch / 20 - 1.5) for epoch, _ in points]
            right.plot(
                x, [y for _, y in points], color=colour, marker="o", ms=4, lw=0.8
            )
    for axes, title in (
        (left, "dominant eigenvalue of the Hessian"),
        (middle, "operators without parameters, both cells"),
        (right, "test accuracy retrained, epoch 20 and result"),
    ):
        axes.set_title(title, size=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.set_xlabel("epoch of the search" if axes is not right else "")
    right.set_xticks(
        range(len(found)), [NAMES[name].split(",")[0] for name in found], size=8
    )
    right.axhline(0.1, color="#666666", lw=0.8, ls=":")
    left.set_yscale("log")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=len(found)
    )
    figure.savefig(HERE / "collapse.png", dpi=150)


def table(found: dict) -> str:
    rows = [
        "| | noise in normal / reduce | eigenvalue | retrained, epoch 20 | retrained, result |",
        "|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        each = list(runs.values())
        last = lambda run, kind: list(run[kind].values())[-1]
        percent = lambda values: ", ".join(f"{100 * v:.1f}" for v in values) + " %"
        normal, reduce = (
            ", ".join(str(noise(run, kind)) for run in each)
            for kind in ("normal", "reduce")
        )
        first = ", ".join(
            f"{next(iter(run['eigenvalue'].values())):.3f}" for run in each
        )
        end = ", ".join(f"{last(run, 'eigenvalue'):.3f}" for run in each)
        early = [run["retrained"].get(20) for run in each]
        shown = percent(early) if all(early) else ""
        rows.append(
            f"| {NAMES[name]} | {normal} / {reduce} of 8 | {first} → {end} | {shown} "
            f"| {percent(run['retrained'][40] for run in each)} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    study = collected(Path(sys.argv[1]))
    (HERE / "study.json").write_text(json.dumps(study) + "\n")
    draw(study)
    print(table(study))
