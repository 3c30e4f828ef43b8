"""SANAS on DARTS: an architecture whose saliency maps help a second network learn.

    python -m nasjax.main --config=configs/sanas_darts2.py
    python -m nasjax.main --config=configs/sanas_darts2.py:cifar10 --config.data.path=F.npz
    python -m nasjax.main --config=configs/sanas_darts2.py --config.algorithm=darts_first+sanas

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`, `:imagenet`: DARTS' setting with SANAS' frequencies; give the data with
--config.data.path. `:cifar10-s1` to `:svhn-s4`: in the spaces S1 to S4 of R-DARTS.
SANAS' supplement contradicts itself: `:cifar10-text` and `:cifar100-text` follow its
text (appendix I), `:cifar10-table` and `:cifar100-table` its tables (9 and 14).
"""

from nasjax.core.errors import unknown
from nasjax.experiment import defaults
from nasjax.spaces import DARTS_8


def get_config(arg=None):
    name, _, source = (arg or "").partition("-")
    supplement = source.startswith("t")
    config = defaults.settings(name if supplement else arg)
    config.algorithm = "darts_second+sanas"
    config.space.primitives = DARTS_8 if arg else ()
    if supplement:
        _supplement(config, name, source)
    return config


def _supplement(config, name, source):
    if name not in ("cifar10", "cifar100"):
        raise unknown("data set of the supplement", name, ("cifar10", "cifar100"))
    if source not in ("text", "table"):
        raise unknown("part of the supplement", source, ("text", "table"))
    config.search.rate_min = 0.0
    for base in ("darts_first", "darts_second"):
        config.arch[base].rate = 1e-3 if source == "text" else 3e-4
    if source == "text":
        config.search.alpha_spread = 0.0
        config.retrain.drop_path = 0.2
    else:
        config.retrain.drop_path = 0.3
