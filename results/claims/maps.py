"""Which maps are good, and if the search or the method decides: two factors.

    python results/claims/maps.py runs/maps

Every folder in runs/maps is a trained network of an architecture that a search found,
with the saliency.json of `nasjax saliency`; its name is SEARCH_SEED. The gain of a map
is insertion minus deletion, minus the same of a random map. The table has the mean over
the networks of a search with its standard error, and the variance that method, search
and network explain in the two-way layout.
"""

import json
import sys
from pathlib import Path

import numpy as np
from scipy import stats
from shared import HERE

from nasjax.analysis.commands import table, write


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


if __name__ == "__main__":
    rows = collected(Path(sys.argv[1]))
    names = list(dict.fromkeys(row["search"] for row in rows))
    methods = [name for name in rows[0]["maps"] if name != "random"]
    of = {
        name: np.array(
            [
                [row["maps"][m]["gain"] for m in methods]
                for row in rows
                if row["search"] == name
            ]
        )
        for name in names
    }
    lines = []
    for index, method in enumerate(methods):
        both = [of[name][:, index] for name in names]
        p = stats.ttest_ind(*both, equal_var=False).pvalue if len(both) == 2 else None
        cells = [f"{own.mean():+.3f} ± {stats.sem(own):.3f}" for own in both]
        lines.append([method, *cells, f"{p:.2f}" if p is not None else ""])
    print(table(["map", *names, "p"], lines))
    least = min(map(len, of.values()))
    explained = shares(np.stack([own[:least] for own in of.values()]))
    print(table(["explains", "share"], list(explained.items())))
    write(HERE / "maps.json", {"networks": rows, "explained": explained})
