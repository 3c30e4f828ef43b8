"""FairDARTS: independent operators, and a loss that drives their weights to 0 or 1.

    python -m nasjax.main --config=configs/fair_darts.py
    python -m nasjax.main --config=configs/fair_darts.py:cifar10 --config.data.path=F.npz

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`, `:imagenet`: the setting of the released code; give the data with
--config.data.path. `:cifar10-s1` to `:svhn-s4`: in the spaces S1 to S4 of R-DARTS.
"""

from nasjax.experiment import defaults


def get_config(arg=None):
    config = defaults.settings(arg)
    config.algorithm = "fair_darts"
    if not defaults.short(arg):
        config.search.update(batch=128, rate=0.005)
        config.arch.darts_first.update(rate=3e-3, b1=0.9)
    return config
