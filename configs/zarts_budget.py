"""ZARTS under a budget of multiply-adds: an objective that has no derivative.

    python -m nasjax.main --config=configs/zarts_budget.py
    python -m nasjax.main --config=configs/zarts_budget.py:cifar10 --config.data.path=F.npz

ZARTS-GLD with a price: the loss of a candidate is its validation loss, plus a price for
every multiply-add by which its retrained network exceeds the budget. The paper names
this as future work (arXiv 2110.04743, section 6). GLD never moves to a candidate with a
larger loss. MGS always moves, at the end by its gradient alone, which does not contain
the price. No argument: scikit-learn's digits, minutes on two cores. `:cifar10`,
`:cifar100`, `:svhn`, `:imagenet`: the setting of ZARTS-GLD.
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
