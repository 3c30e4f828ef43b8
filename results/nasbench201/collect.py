"""runs.json: one row for every finished run of the study, see docs/nasbench201.md.

It also prints how the supernet's validation accuracy ranks what the searches found.

python results/nasbench201/collect.py runs/nasbench201
"""

import json
import sys
from pathlib import Path

from scipy.stats import kendalltau

from nasjax.analysis import runs
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.nasbench201 import to_string

HERE = Path(__file__).parent


def row(folder: Path) -> dict:
    """What a run found; accuracies in percent but for the supernet's, as in the table."""
    opened = runs.open_folder(folder)
    result = opened.read_outcome("result")
    truth = {name: round(100 * a, 4) for name, a in result["true_accuracy"].items()}
    return {
        "algorithm": result["algorithm"],
        "seed": result["seed"],
        "arch": to_string(Genotype.from_json(result["genotype"])),
        **truth,
        "supernet_valid_accuracy": round(result["supernet_valid_accuracy"], 4),
        "seconds": round(result["seconds"]["search"], 1),
        "gradient_evaluations": result["gradient_evaluations"],
        "interrupted": result["interrupted"],
    }


if __name__ == "__main__":
    folders = sorted(path.parent for path in Path(sys.argv[1]).glob("*/result.json"))
    rows = sorted(map(row, folders), key=lambda each: (each["algorithm"], each["seed"]))
    lines = ",\n".join(f"  {json.dumps(each)}" for each in rows)
    (HERE / "runs.json").write_text(f"[\n{lines}\n]\n")
    relaxed = [each for each in rows if each["algorithm"] != "random_search"]
    both = [[r[k] for r in relaxed] for k in ("supernet_valid_accuracy", "cifar10")]
    tau = kendalltau(*both)
    print(
        f"{len(rows)} runs; supernet's and true accuracy of the {len(relaxed)} without "
        f"random search: Kendall's tau {tau.statistic:.2f}, p {tau.pvalue:.2g}"
    )
