"""Implicit search: the implicit function theorem, by conjugate gradients or Neumann.

    python -m nasjax.main --config=configs/implicit.py
    python -m nasjax.main --config=configs/implicit.py --config.arch.implicit.inverse=neumann
    python -m nasjax.main --config=configs/implicit.py:cifar10 --config.data.path=F.npz

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`, `:imagenet`: DARTS' setting; give the data with --config.data.path.
"""

from nasjax.experiment import defaults
from nasjax.spaces import DARTS_8


def get_config(arg=None):
    config = defaults.settings(arg)
    config.algorithm = "implicit"
    config.space.primitives = DARTS_8 if arg else ()
    return config
