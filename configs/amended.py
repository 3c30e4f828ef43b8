"""Amended-DARTS: a corrected hypergradient, and a search consistent with retraining.

    python -m nasjax.main --config=configs/amended.py
    python -m nasjax.main --config=configs/amended.py:cifar10 --config.data.path=F.npz

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`, `:imagenet`: the paper's space S1, 8 cells whose edges are pruned after the search.
`:cifar10-s2` and so on: S2, 20 cells as wide as in retraining, each with its own alpha,
and fixed edges; --config.space.edges=searched searches the edges first. `:cifar10-s3`:
S3. These spaces are the paper's; --config.space.name=s1 to s4 are S1 to S4 of R-DARTS.
Give the data with --config.data.path.
"""

from nasjax.core.errors import unknown
from nasjax.experiment import defaults
from nasjax.spaces import AMENDED_S2, AMENDED_S3, DARTS_8


def get_config(arg=None):
    benchmark = (arg or "").startswith("nasbench201")
    name, _, space = (arg or "").partition("-")
    config = defaults.settings(arg if benchmark else name or None)
    config.algorithm = "amended"
    config.space.primitives = DARTS_8 if arg else ()
    config.search.alpha_spread = 0.0
    if arg is not None and not benchmark:
        config.search.update(batch=96, epochs=100)
        _space(config, space)
    for field in ("auxiliary", "drop_path", "cutout"):  # as in retraining
        config.search[field] = config.retrain[field]
    return config


def _space(config, name):
    if name == "s2":
        config.space.update(primitives=AMENDED_S2, share=False, edges="fixed")
        config.search.update(
            channels=config.retrain.channels, cells=config.retrain.cells
        )
    elif name == "s3":
        config.space.primitives = AMENDED_S3
    elif name not in ("", "s1"):
        raise unknown("space of configs/amended.py", name, ("s1", "s2", "s3"))
