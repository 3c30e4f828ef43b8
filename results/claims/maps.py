"""Which maps are good, and if the search or the method decides: two factors.

    python results/claims/maps.py runs/maps

Every folder in runs/maps is a trained network of an architecture that one of two
searches found, with the saliency.json of `nasjax saliency`; its name is SEARCH_SEED. The
gain of a map is insertion minus deletion, minus the same of a random map. The table has
the mean over the networks of a search with its standard error, and the difference of the
searches paired by seed. The shares are those of the sum of squares in the layout method
x search x network, over the maps that know the network ("image" does not).
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy import stats
from shared import COLOURS, HERE

from nasjax.analysis.commands import table, write
from nasjax.analysis.significance import holm, paired
from nasjax.plots.style import clean, new_figure, save


def collected(root: Path) -> list[dict]:
    """Search, seed, accuracy and gains of every network."""
    rows = []
    for file in sorted(root.glob("*/saliency.json")):
        search, _, seed = file.parent.name.rpartition("_")
        (own,) = json.loads(file.read_text())["runs"]
        net = own["final"]
        rows.append({"search": search, "seed": int(seed), "accuracy": net["accuracy"],
                     "maps": net["maps"]})  # fmt: skip
    return rows


def shares(gains: np.ndarray) -> dict[str, float]:
    """Shares of the sum of squares of gains [search, network, method]."""
    grand = gains.mean()
    total = ((gains - grand) ** 2).sum()
    searches, networks, methods = gains.shape
    of_search = (gains.mean((1, 2)) - grand) ** 2
    of_method = (gains.mean((0, 1)) - grand) ** 2
    both = gains.mean(1) - gains.mean((1, 2))[:, None] - gains.mean((0, 1)) + grand
    within = gains.mean(2) - gains.mean((1, 2))[:, None]
    parts = {
        "method": of_method.sum() * searches * networks,
        "search": of_search.sum() * networks * methods,
        "method x search": (both**2).sum() * networks,
        "network within a search": (within**2).sum() * methods,
    }
    found = {name: float(part / total) for name, part in parts.items()}
    return found | {"rest": 1 - sum(found.values())}


def compared(of: dict[str, dict[int, list]], methods: list[str]) -> list[dict]:
    """For each method the gains of two searches, paired by seed, Holm-corrected.

    Seeds in which both searches found one architecture give the same network twice,
    and a difference of 0.
    """
    ours, base = of
    seeds = sorted(set(of[ours]) & set(of[base]))
    found = []
    for index, method in enumerate(methods):
        pair = [[of[name][seed][index] for seed in seeds] for name in (ours, base)]
        found.append({"map": method, **paired(*pair)._asdict()})
    p = holm({own["map"]: own["p_value"] for own in found})
    return [own | {"p_holm": p[own["map"]]} for own in found]


def draw(of: dict[str, dict[int, list]], methods: list[str], path: Path) -> None:
    """The gain of each map: every network, and the mean of each search."""
    figure = new_figure((7.2, 3.6), layout="constrained")
    axes, places = figure.subplots(), np.arange(len(methods))
    for shift, (name, seeds), colour in zip(
        (-0.15, 0.15), of.items(), COLOURS, strict=False
    ):
        gains = np.array(list(seeds.values()))
        axes.plot(places + shift, gains.T, ".", ms=5, alpha=0.5, color=colour)
        axes.errorbar(places + shift, gains.mean(0), stats.sem(gains), fmt="_", ms=16,
                      color=colour, label=f"{name} ({len(gains)} networks)")  # fmt: skip
    axes.axhline(0, color="#666666", lw=0.8, ls=":")
    axes.set_xticks(
        places, [name.replace(" ", "\n", 1) for name in methods], fontsize=8
    )
    axes.set_ylabel("gain over a random map")
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    clean(axes)
    save(figure, path)


if __name__ == "__main__":
    rows = collected(Path(sys.argv[1]))
    methods = [name for name in rows[0]["maps"] if name != "random"]
    of: dict[str, dict[int, list]] = {}
    for row in rows:
        gains = [row["maps"][method]["gain"] for method in methods]
        of.setdefault(row["search"], {})[row["seed"]] = gains
    tests = compared(of, methods)
    lines = []
    for index, test in enumerate(tests):
        gains = [np.array(list(seeds.values()))[:, index] for seeds in of.values()]
        low, high = test["interval"]
        lines.append([
            test["map"], *(f"{own.mean():+.3f} ± {stats.sem(own):.3f}" for own in gains),
            f"{test['difference']:+.3f} ({low:+.3f} to {high:+.3f})",
            f"{test['p_holm']:.2g}",
        ])  # fmt: skip
    print(table(["map", *of, "difference", "p"], lines))
    kept = [index for index, method in enumerate(methods) if method != "image"]
    seeds = sorted(set.intersection(*map(set, of.values())))
    explained = shares(
        np.array([[np.array(own[seed])[kept] for seed in seeds] for own in of.values()])
    )
    print(table(["explains", "share"], list(explained.items())))
    report = {"networks": rows, "tests": tests, "explained": explained}
    write(HERE / "maps.json", report)
    draw(of, methods, HERE / "maps.png")
