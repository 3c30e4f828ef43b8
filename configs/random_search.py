"""Random search with weight sharing: the baseline for every other search.

    python -m nasjax.main --config=configs/random_search.py
    python -m nasjax.main --config=configs/random_search.py:cifar10 --config.data.path=F.npz

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`, `:imagenet`: the paper's setting; give the data with --config.data.path.
"""

from nasjax.experiment import defaults


def get_config(arg=None):
    config = defaults.settings(arg)
    config.algorithm = "random_search"
    if not defaults.short(arg):
        config.search.warmup_epochs = 10
    return config
