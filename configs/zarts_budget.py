"""ZARTS under a budget of multiply-adds: an objective that has no derivative.

    python -m nasjax.main --config=configs/zarts_budget.py
    python -m nasjax.main --config=configs/zarts_budget.py:cifar10 --config.data.path=F.npz

ZARTS-MGS whose candidates pay, beside their validation loss, for every multiply-add by
which the network that they would be retrained as is over the budget. The paper names it
as future work (arXiv 2110.04743, section 6). No argument: scikit-learn's digits, minutes
on two cores. `:cifar10`, `:cifar100`, `:svhn`, `:imagenet`: the setting of ZARTS-MGS.
"""

from nasjax import defaults


def get_config(arg=None):
    config = defaults.zarts_mgs(arg)
    arch = config.arch
    arch.budget = 8.5e5  # multiply-adds that cost nothing
    arch.budget_weight = 1.0  # added to the loss for twice the budget
    if arg is None:
        arch.samples = 8  # the price is cheap, and rough: more candidates
    else:
        arch.budget = 6e8 if arg == "imagenet" else 5e8
    return config
