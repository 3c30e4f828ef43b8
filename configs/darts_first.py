"""DARTS, first order: alpha descends the validation loss by Adam, w held fixed.

    python -m nasjax.main --config=configs/darts_first.py
    python -m nasjax.main --config=configs/darts_first.py:cifar10 --config.data.path=F.npz

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`: the paper's setting; give the data with --config.data.path.
"""

from ml_collections import ConfigDict

from nasjax import defaults
from nasjax.spaces import DARTS_8


def get_config(arg=None):
    config = defaults.settings(arg)
    config.algorithm = "darts_first"
    config.space.primitives = DARTS_8
    config.arch = arch = ConfigDict()
    arch.every = 1  # weight steps between two moves of alpha
    arch.rate = 3e-3  # Adam's learning rate
    arch.b1 = 0.5  # Adam's first moment
    arch.b2 = 0.999  # Adam's second moment
    arch.weight_decay = 1e-3  # L2, inside Adam as in PyTorch
    if arg is not None:
        arch.rate = 3e-4
    return config
