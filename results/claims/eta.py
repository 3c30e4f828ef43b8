"""eta of Amended-DARTS: which operations the mixing weights prefer, and what they find.

    python results/claims/eta.py runs/eta/* runs/nasbench201/{amended,darts_first}_?

Bi et al. (arXiv 1910.11831, section 3.1.1): eta = 0.001 and 0.01 behave as 0, 0.1 is
good, 1 prefers average pooling. For every run: the mean weight of `skip_connect`,
`none` and `avg_pool_3x3` over the edges after each epoch, and the true accuracy of
alpha's architecture, with and without `none`. First-order DARTS is eta = 0.
"""

import sys
from pathlib import Path

import numpy as np

from nasjax.analysis.commands import table, write
from nasjax.core.files import read_json
from nasjax.engine.workdir import RunFolder
from nasjax.plots.style import clean, new_figure, save
from nasjax.spaces import SPACES

HERE = Path(__file__).parent
SHOWN = ("skip_connect", "none", "avg_pool_3x3")
READINGS = ("with_none", "without_none")


def measured(path: str) -> dict:
    """The measures of one run."""
    folder = RunFolder.read(path)
    config = read_json(folder.path / "config.json") or {}
    result = folder.read_outcome("result") or {}
    operations = SPACES["nasbench201"].primitives
    lines = list(folder.metrics())
    mixes = [np.array(line["mix"]["cell"]) for line in lines if "mix" in line]
    shares = np.array([mix.mean(0) for mix in mixes])
    truths = [line for line in lines if "true_cifar10_with_none" in line]
    amended = config["algorithm"] == "amended"
    return {
        "eta": config["arch"]["amended"]["eta"] if amended else 0.0,
        "seed": result["seed"],
        **{op: shares[:, operations.index(op)] for op in SHOWN},
        **{r: [100 * t[f"true_cifar10_{r}"] for t in truths] for r in READINGS},
    }


def draw(rows: list[dict], path: Path) -> None:
    """Weights and true accuracies by epoch: the mean over the seeds of every eta."""
    figure = new_figure((12.5, 3.3), layout="constrained")
    panels = (*SHOWN, *READINGS)
    grid = figure.subplots(1, len(panels))
    etas = sorted({row["eta"] for row in rows})
    colours = ("#000000", "#56B4E9", "#0072B2", "#D55E00", "#009E73")
    for axes, name in zip(grid, panels, strict=True):
        for eta, colour in zip(etas, colours, strict=False):
            own = np.array([row[name] for row in rows if row["eta"] == eta])
            x = np.arange(1, own.shape[1] + 1)
            error = own.std(0, ddof=1) / len(own) ** 0.5
            axes.plot(x, own.mean(0), color=colour, lw=1.5, label=f"eta {eta:g}")
            axes.fill_between(x, own.mean(0) - error, own.mean(0) + error, color=colour,
                              alpha=0.15, lw=0)  # fmt: skip
        words = "true accuracy, " if name in READINGS else "weight of "
        axes.set_title(words + name.replace("_", " "), fontsize=9)
        axes.set_xlabel("epoch")
        clean(axes)
    grid[0].legend(fontsize=8)
    save(figure, path)


if __name__ == "__main__":
    rows = sorted(
        map(measured, sys.argv[1:]), key=lambda row: (row["eta"], row["seed"])
    )
    write(HERE / "eta.json", {"runs": rows})
    draw(rows, HERE / "eta.png")
    last = []
    for eta in sorted({row["eta"] for row in rows}):
        own = [[row[n][-1] for n in (*SHOWN, *READINGS)] for row in rows
               if row["eta"] == eta]  # fmt: skip
        mean, error = np.mean(own, 0), np.std(own, 0, ddof=1) / len(own) ** 0.5
        cells = [f"{m:.3f} ± {e:.3f}" for m, e in zip(mean, error, strict=True)]
        last.append([eta, len(own), *cells])
    print(table(["eta", "seeds", *SHOWN, *READINGS], last))
