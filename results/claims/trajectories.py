"""Mixing weights and true accuracies over the epochs of searches, by their settings.

    python results/claims/trajectories.py eta arch.amended.eta runs/eta/*
    python results/claims/trajectories.py collapse search.cells arch.darts_first.rate \\
      runs/long/*

The first argument names the files that are written; then come fields of the config by
which runs are grouped, and folders of runs in the space of NAS-Bench-201, which have a
"/" in their names. A run that lacks a field is named by its algorithm. For every
group: the mean weight of `skip_connect`, `none` and `avg_pool_3x3` over the edges after
each epoch, and the true CIFAR-10 accuracy of alpha's architecture, with and without
`none`; means over the seeds with their standard errors.
"""

import itertools
import sys
from pathlib import Path

import numpy as np
from shared import COLOURS, HERE

from nasjax.analysis.commands import table, write
from nasjax.core.files import read_json
from nasjax.engine.workdir import RunFolder, flat
from nasjax.plots.style import clean, new_figure, save
from nasjax.spaces import SPACES

SHOWN = ("skip_connect", "none", "avg_pool_3x3")
READINGS = ("with_none", "without_none")


def measured(path: Path, fields: list[str]) -> dict:
    """The measures of one run, and its group."""
    folder = RunFolder.read(path)
    config = flat(read_json(path / "config.json") or {})
    operations = SPACES["nasbench201"].primitives
    lines = list(folder.metrics())
    mixes = [np.array(line["mix"]["cell"]) for line in lines if "mix" in line]
    shares = np.array([mix.mean(0) for mix in mixes])
    truths = [line for line in lines if "true_cifar10_with_none" in line]
    named = [f"{f.rpartition('.')[2]} {config[f]}" for f in fields if f in config]
    return {
        "group": ", ".join(named) or config["algorithm"],
        "seed": config["seed"],
        **{op: shares[:, operations.index(op)] for op in SHOWN},
        **{r: [100 * t[f"true_cifar10_{r}"] for t in truths] for r in READINGS},
    }


def spread(rows: list[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over the seeds, by epoch as far as all seeds have it."""
    epochs = min(len(row[name]) for row in rows)
    own = np.array([row[name][:epochs] for row in rows])
    error = own.std(0, ddof=1) / len(own) ** 0.5 if len(own) > 1 else 0 * own[0]
    return own.mean(0), error


def draw(groups: dict[str, list[dict]], path: Path) -> None:
    """Weights and true accuracies by epoch."""
    figure = new_figure((12.5, 3.7), layout="constrained")
    panels = (*SHOWN, *READINGS)
    grid = figure.subplots(1, len(panels))
    for axes, name in zip(grid, panels, strict=True):
        for (group, rows), colour in zip(groups.items(), itertools.cycle(COLOURS)):
            mean, error = spread(rows, name)
            x = np.arange(1, len(mean) + 1)
            axes.plot(x, mean, color=colour, lw=1.5, label=f"{group} ({len(rows)})")
            axes.fill_between(x, mean - error, mean + error, color=colour, alpha=0.15,
                              lw=0)  # fmt: skip
        words = "true accuracy, " if name in READINGS else "weight of "
        axes.set_title(words + name.replace("_", " "), fontsize=9)
        axes.set_xlabel("epoch")
        clean(axes)
    named = grid[0].get_legend_handles_labels()
    figure.legend(*named, loc="outside lower center", ncols=4, fontsize=8)
    save(figure, path)


if __name__ == "__main__":
    name, *rest = sys.argv[1:]
    paths = [Path(each) for each in rest if "/" in each]
    fields = [each for each in rest if "/" not in each]
    if left := [str(path) for path in paths if not (path / "result.json").exists()]:
        raise SystemExit(f"No finished run: {', '.join(left)}")
    groups: dict[str, list[dict]] = {}
    for row in (measured(path, fields) for path in paths):
        groups.setdefault(row["group"], []).append(row)
    groups = dict(sorted(groups.items()))
    write(HERE / f"{name}.json", {"groups": groups})
    draw(groups, HERE / f"{name}.png")
    header = ["group", "seeds", "epochs", *SHOWN, *READINGS]
    last = []
    for group, rows in groups.items():
        ends = [spread(rows, kind) for kind in (*SHOWN, *READINGS)]
        cells = [f"{mean[-1]:.3f} ± {error[-1]:.3f}" for mean, error in ends]
        last.append([group, len(rows), len(ends[0][0]), *cells])
    print(table(header, last))
