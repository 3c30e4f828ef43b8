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
    config = defaults.zarts(arg)
    config.algorithm = "zarts_gld"
    arch = config.arch
    arch.budget = 8.5e5  # multiply-adds that cost nothing
    arch.budget_weight = 1.0  # added to the loss for twice the budget
    arch.max_radius = 1.0  # R, of the longest step, in each type of cell
    arch.min_radius = 0.015625  # r, halved down to; log2(R / r) + 2 candidates
    arch.distribution = "sphere"  # of the steps; or "ball"
    if not defaults.short(arg):
        arch.budget = 6e8 if arg == "imagenet" else 5e8
        arch.max_radius, arch.min_radius = 0.13, 4.69e-6
    return config
