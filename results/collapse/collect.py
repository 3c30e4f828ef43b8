"""The study's numbers and figure, from the folders of its runs.

    python results/collapse/collect.py runs/collapse

See docs/collapse.md for the commands that made the runs.
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from nasjax import vitals

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
            lines = vitals.followed([json.loads(line) for line in text])
            result, epochs = read(folder / "result.json"), 40
            own = {
                kind: dict(zip(*map(np.ndarray.tolist, vitals.series(lines, kind)), strict=True))
                for kind in (
                    "eigenvalue", "hessian_trace", "parameter_free_normal",
                    "parameter_free_reduce", "valid_accuracy",
                )
            }  # fmt: skip
            retrained = {epochs: result["test_accuracy"]}
            if (folder / "convergence.json").exists():
                rows = read(folder / "convergence.json")["epochs"]
                retrained |= {row["epoch"]: row["test_accuracy"] for row in rows}
            judged = vitals.verdict(lines, epochs)
            found.setdefault(name, {})[seed] = {
                "verdict": judged.word,
                "early_stopping": judged.stop and judged.stop._asdict(),
                "stops": result.get("stops", []),
                "retrained": retrained,
                "genotype": result["genotype"],
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


def draw(found: dict) -> None:
    figure = Figure(figsize=(13, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for (name, runs), colour in zip(found.items(), COLOURS, strict=False):
        for index, run in enumerate(runs.values()):
            label = NAMES[name] if index == 0 else None
            style = {"color": colour, "lw": 1, "alpha": 0.9, "label": label}
            left.plot(
                list(run["eigenvalue"]), list(run["eigenvalue"].values()), **style
            )
            epochs = list(run["parameter_free_normal"])
            middle.plot(epochs, [free(run, epoch) for epoch in epochs], **style)
            points = sorted(run["retrained"].items())
            right.plot(*zip(*points, strict=True), marker="o", ms=4, **style)
    for axes, title in (
        (left, "dominant eigenvalue of the Hessian"),
        (middle, "operators without parameters, both cells"),
        (right, "test accuracy after retraining"),
    ):
        axes.set_title(title, size=10)
        axes.set_xlabel("epoch of the search")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    left.set_yscale("log")
    figure.legend(
        *left.get_legend_handles_labels(), loc="outside lower center", ncols=len(found)
    )
    figure.savefig(HERE / "collapse.png", dpi=150)


def table(found: dict) -> str:
    rows = [
        "| | noise in normal / reduce | eigenvalue | retrained, epoch 20 | epoch 40 |",
        "|---|---|---|---|---|",
    ]
    for name, runs in found.items():
        each = list(runs.values())
        last = lambda run, kind: list(run[kind].values())[-1]
        percent = lambda values: ", ".join(f"{100 * v:.1f}" for v in values) + " %"
        normal, reduce = (
            ", ".join(f"{8 * last(run, f'parameter_free_{kind}'):.0f}" for run in each)
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
    (HERE / "study.json").write_text(json.dumps(study, indent=1) + "\n")
    draw(study)
    print(table(study))
