"""The searches of the study on NAS-Bench-201, and the papers' claims against them.

    python results/claims/verdicts.py runs/nasbench201

Every claim is a set of searches against another set, paired by seed, on the true
CIFAR-10 accuracy of what was found, by each search's own rule. A claim holds if the
exact signed-rank test, with Holm's correction over all claims, has p below 0.05 and ours
is better; its opposite holds if ours is worse; anything else cannot be said. With ten
seeds and 15 claims only ten of ten seeds can make the first claim hold (p 0.029). The
claims are tested once more on architectures without `none`. Writes claims.json and
prints the tables of docs/claims.md.
"""

import sys
from pathlib import Path

import numpy as np
from scipy import stats
from shared import HERE

from nasjax.analysis.commands import write
from nasjax.analysis.significance import holm, paired
from nasjax.core.files import read_json
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.nasbench201 import to_string
from nasjax.spaces.table import DATASETS, packaged

GRADIENT = ("darts_first", "darts_second", "amended", "implicit")
PRINTED = ("signed", "soft", "pgd")  # SANAS' mode, target and ascent

CLAIMS = (  # whose, what, ours, base
    ("ZARTS", "MGS finds better architectures than DARTS", "zarts_mgs", "darts_first"),
    ("ZARTS", "RS does", "zarts_rs", "darts_first"),
    ("ZARTS", "GLD does", "zarts_gld", "darts_first"),
    ("ZARTS", "MGS is better than second-order DARTS", "zarts_mgs", "darts_second"),
    ("SmoothDARTS", "RS is better than DARTS", "sdarts_rs", "darts_first"),
    ("SmoothDARTS", "ADV is better than DARTS", "sdarts_adv", "darts_first"),
    ("SmoothDARTS", "ADV is better than RS", "sdarts_adv", "sdarts_rs"),
    ("Amended", "it is better than DARTS", "amended", "darts_first"),
    ("Amended", "it is better than second order", "amended", "darts_second"),
    ("SANAS", "it improves its base at the same cadence", "sanas", "darts_second_5"),
    ("SANAS", "as printed it does", "sanas_printed", "darts_second_5"),
    ("DARTS", "second order is better than first", "darts_second", "darts_first"),
    ("PC-DARTS", "it is better than DARTS", "pc_darts", "darts_first"),
    ("FairDARTS", "it is better than DARTS", "fair_darts", "darts_first"),
    ("-", "implicit is better than first order at the same cadence", "implicit_5",
     "darts_first_5"),
)  # fmt: skip


def name_of(config: dict) -> str:
    """The name of a set: the algorithm, and settings in which sets differ."""
    name, of, arch = config["algorithm"], config["saliency"], config["arch"]
    if "sanas" in arch:
        printed = (of["mode"], of["target"], of["ascent"]) == PRINTED
        return "sanas_printed" if printed else "sanas"
    every = arch[name]["every"] if name in GRADIENT else 1  # weight steps for a move
    return name if every == 1 else f"{name}_{every}"


def collected(root: Path) -> dict[str, dict[int, dict]]:
    """Set -> seed -> accuracies in percent by data set and reading."""
    sets: dict[str, dict[int, dict]] = {}
    for file in sorted(root.glob("*/result.json")):
        result, config = read_json(file), read_json(file.parent / "config.json")
        readings = result["readings"] or {}
        found = {"own": result["true_accuracy"]}
        found |= {name: own["true_accuracy"] for name, own in readings.items()}
        own = {
            f"{data}, {name}": round(100 * accuracies[data], 4)
            for name, accuracies in found.items()
            for data in DATASETS
        }
        own["supernet"] = 100 * result["supernet_valid_accuracy"]
        own["gradients"] = result["gradient_evaluations"]
        own["seconds"] = result["seconds"]["search"]
        own["arch"] = to_string(Genotype.from_json(result["genotype"]))
        seeds = sets.setdefault(name_of(config), {})
        if result["seed"] in seeds:
            raise SystemExit(f"{file.parent}: a second run of this set and seed.")
        seeds[result["seed"]] = own
    return sets


def tested(sets: dict, ours: str, base: str, measure: str) -> dict | None:
    """The paired comparison of two sets by a measure, None without two pairs."""
    both = [sets.get(name, {}) for name in (ours, base)]
    seeds = [s for s in sorted(set(both[0]) & set(both[1]))
             if measure in both[0][s] and measure in both[1][s]]  # fmt: skip
    if len(seeds) < 2:
        return None
    values = [[own[seed][measure] for seed in seeds] for own in both]
    found = paired(*values, True)
    return {"seeds": len(seeds), "values": values, **found._asdict(),
            "medians": [float(np.median(own)) for own in values]}  # fmt: skip


def judged(sets: dict, reading: str, data: str = "cifar10") -> list[dict]:
    """Every claim with its numbers, its corrected p and its verdict."""
    rows = []
    for whose, what, ours, base in CLAIMS:
        test = tested(sets, ours, base, f"{data}, {reading}")
        if test:
            rows.append({"paper": whose, "claim": what, "ours": ours, "base": base}
                        | test)  # fmt: skip
    corrected = holm({str(i): row["p_value"] for i, row in enumerate(rows)})
    for index, row in enumerate(rows):
        row["p_holm"] = corrected[str(index)]
        better = row["superiority"] > 0.5
        sure = row["p_holm"] < 0.05
        row["verdict"] = (
            ("holds" if better else "the opposite holds") if sure else "cannot be said"
        )
    return rows


def against_random(sets: dict) -> dict[str, dict]:
    """Set -> what it found, and its percentiles among all architectures of the table.

    The percentile of a random architecture is uniform from 0 to 100, so its mean is the
    probability that a random architecture is worse, and the test is of 50.
    """
    column = packaged().column(DATASETS["cifar10"])
    found = {}
    for name, seeds in sets.items():
        values = [own["cifar10, own"] for own in seeds.values()]
        ranks = np.array([100 * float((column < v).mean()) for v in values])
        if len(ranks) < 2:
            continue
        mean = stats.bootstrap((ranks,), np.mean, rng=0, n_resamples=9999)
        found[name] = {
            "seeds": len(ranks), "percentile": float(ranks.mean()),
            "interval": list(map(float, mean.confidence_interval)),
            "p_value": paired(ranks, [50.0] * len(ranks)).p_value,
        }  # fmt: skip
    for name, p in holm({n: own["p_value"] for n, own in found.items()}).items():
        found[name]["p_holm"] = p
    return found


def rows(sets: dict, random: dict) -> str:
    """The table of what the searches found, best median first."""
    lines = ["| search | CIFAR-10 | median | worst | without none | CIFAR-100 | "
             "ImageNet16 | percentile | p | gradients |",
             "|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    of = lambda name, kind: np.array(
        [own[kind] for own in sets[name].values() if kind in own]
    )
    spread = lambda own: f"{own.mean():.2f} ± {own.std(ddof=1):.2f}" if own.size else ""
    for name in sorted(random, key=lambda n: -np.median(of(n, "cifar10, own"))):
        own, (low, high) = of(name, "cifar10, own"), random[name]["interval"]
        lines.append(
            f"| {name} | {spread(own)} | {np.median(own):.2f} | {own.min():.2f} | "
            f"{spread(of(name, 'cifar10, without_none'))} | "
            f"{spread(of(name, 'cifar100, own'))} | "
            f"{spread(of(name, 'imagenet16, own'))} | "
            f"{random[name]['percentile']:.0f} ({low:.0f} to {high:.0f}) | "
            f"{random[name]['p_holm']:.2g} | {of(name, 'gradients').mean():,.0f} |"
        )
    return "\n".join(lines)


def table(rows: list[dict]) -> str:
    """The table of the claims."""
    lines = ["| paper | claim | difference, points | better in | p | Holm | verdict |",
             "|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in rows:
        low, high = row["interval"]
        less, more = row["superiority_interval"]
        lines.append(
            f"| {row['paper']} | {row['claim']} | {row['difference']:+.2f} "
            f"({low:+.2f} to {high:+.2f}) | {row['superiority']:.0%} ({less:.0%} to "
            f"{more:.0%}) | {row['p_value']:.2g} | {row['p_holm']:.2g} | "
            f"{row['verdict']} |"
        )
    return "\n".join(lines)


def ranked(sets: dict) -> dict[str, float]:
    """Set -> Kendall's tau of the supernets' and the true accuracies over the seeds."""
    found = {}
    for name, seeds in sets.items():
        pairs = [(own["supernet"], own["cifar10, own"]) for own in seeds.values()]
        if name != "random_search" and len(pairs) > 2:
            found[name] = float(stats.kendalltau(*zip(*pairs, strict=True)).statistic)
    return {name: tau for name, tau in found.items() if np.isfinite(tau)}


if __name__ == "__main__":
    sets = collected(Path(sys.argv[1]))
    report = {"sets": sets, "random": against_random(sets), "tau": ranked(sets)}
    print(rows(sets, report["random"]))
    for reading in ("own", "without_none"):
        report[reading] = judged(sets, reading)
        print(f"\n{reading}\n\n{table(report[reading])}")
    tau = list(report["tau"].values())
    print(f"\ntau within a search: mean {np.mean(tau):.2f} ± {stats.sem(tau):.2f} over "
          f"{len(tau)} searches, {min(tau):.2f} to {max(tau):.2f}")  # fmt: skip
    write(HERE / "claims.json", report)
