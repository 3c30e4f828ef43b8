"""ZARTS under a budget of multiply-adds: an objective that has no derivative.

    python -m nasjax.main --config=configs/zarts_budget.py
    python -m nasjax.main --config=configs/zarts_budget.py:cifar10 --config.data.path=F.npz

ZARTS-GLD whose candidates pay, beside their validation loss, for every multiply-add by
which the network that they would be retrained as is over the budget. The paper names it
as future work (arXiv 2110.04743, section 6). GLD, because it never moves to what it
measured as worse; MGS always moves, and at the end by its gradient alone, which knows no
price. No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`, `:imagenet`: the setting of ZARTS-GLD.
"""

from nasjax.experiment import defaults


def get_config(arg=None):
    config = defaults.settings(arg)
    config.algorithm = "zarts_gld+budget"
    if defaults.short(arg):
        config.arch.zarts_gld.update(max_radius=1.0, min_radius=0.015625)
    else:
        config.search.warmup_epochs = 20 if arg == "imagenet" else 10
    return config
