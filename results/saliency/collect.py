"""The study's numbers, from the folders of its runs, and the table of docs/saliency.md.

    python results/saliency/collect.py runs/saliency

See docs/saliency.md for the commands that made the runs and their saliency.json.
"""

import json
import sys
from pathlib import Path

from nasjax.analysis.commands import write
from nasjax.analysis.significance import t_test

HERE = Path(__file__).parent
DATA, SEEDS = ("digits", "cifar"), range(10)
OURS, BASE = "sanas_darts2", "darts_second"
MAPS = ("attack", "gradient", "integrated gradients", "random")


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def collected(root: Path) -> dict:
    """data -> algorithm -> seed -> its accuracy and areas."""
    found: dict = {}
    for data in DATA:
        for name in (OURS, BASE):
            for seed in SEEDS:
                folder = root / data / f"{name}_{seed}"
                if not (folder / "saliency.json").exists():
                    continue
                result = read(folder / "result.json")
                (own,) = read(folder / "saliency.json")["runs"]
                found.setdefault(data, {}).setdefault(name, {})[seed] = {
                    "test_accuracy": result["test_accuracy"],
                    "supernet_valid_accuracy": result["supernet_valid_accuracy"],
                    "genotype": result["genotype"],
                    **{net: own[net] for net in ("search", "final")},
                    "inference": own.get("inference"),
                }
    return found


def compared(found: dict) -> dict:
    """data -> quantity -> both sets, Welch's p and the one-sample p."""
    tests: dict = {}
    for data, sets in found.items():

        def both(pick, sets=sets):
            ours, base = ([pick(run) for run in sets[n].values()] for n in (OURS, BASE))
            return {"sanas": ours, "darts": base, **t_test(ours, base)._asdict()}

        tests[data] = {"test_accuracy": both(lambda run: run["test_accuracy"])}
        for net in ("search", "final"):
            for kind in MAPS:
                for area in ("deletion", "insertion"):
                    tests[data][f"{net}, {kind}, {area}"] = both(
                        lambda run, n=net, k=kind, a=area: run[n]["maps"][k][a]
                    )
    return tests


def table(tests: dict) -> str:
    """Mean ± standard deviation over the seeds, and Welch's p."""
    cell = lambda test, i: f"{test['means'][i]:.3f} ± {test['deviations'][i]:.3f}"
    lines = []
    for data, quantities in tests.items():
        lines += [f"| {data} | SANAS | DARTS, second order | p |", "|---|---|---|---|"]
        for name, test in quantities.items():
            p = f"{test['p_value']:.2f}"
            lines.append(f"| {name} | {cell(test, 0)} | {cell(test, 1)} | {p} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    runs = collected(Path(sys.argv[1]))
    tests = compared(runs)
    write(HERE / "study.json", {"runs": runs, "tests": tests})
    print(table(tests))
