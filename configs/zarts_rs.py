"""ZARTS-RS: alpha moved by random search, differences along random directions.

    python -m nasjax.main --config=configs/zarts_rs.py
    python -m nasjax.main --config=configs/zarts_rs.py:cifar10 --config.data.path=F.npz

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`, `:imagenet`: the paper's setting (GPU-days); give the data with
--config.data.path.
"""

from nasjax.experiment import defaults


def get_config(arg=None):
    config = defaults.settings(arg)
    config.algorithm = "zarts_rs"
    if not defaults.short(arg):
        config.search.warmup_epochs = 20 if arg == "imagenet" else 10
    return config
