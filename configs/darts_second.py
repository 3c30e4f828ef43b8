"""DARTS, second order: alpha descends the validation loss after one weight step.

    python -m nasjax.main --config=configs/darts_second.py
    python -m nasjax.main --config=configs/darts_second.py:cifar10 --config.data.path=F.npz

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`, `:imagenet`: the paper's setting; give the data with --config.data.path.
`:cifar10-s1` to `:svhn-s4`: in the spaces S1 to S4 of R-DARTS.
"""

from nasjax.experiment import defaults
from nasjax.spaces import DARTS_8


def get_config(arg=None):
    config = defaults.settings(arg)
    config.algorithm = "darts_second"
    config.space.primitives = DARTS_8 if arg else ()
    return config
