"""Implicit search: the implicit function theorem, by conjugate gradients or Neumann.

    python -m nasjax.main --config=configs/implicit.py
    python -m nasjax.main --config=configs/implicit.py --config.arch.inverse=neumann
    python -m nasjax.main --config=configs/implicit.py:cifar10 --config.data.path=F.npz

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`, `:imagenet`: DARTS' setting; give the data with --config.data.path.
"""

from nasjax.experiment import defaults
from nasjax.spaces import DARTS_8


def get_config(arg=None):
    config = defaults.settings(arg)
    config.algorithm = "implicit"
    config.space.primitives = DARTS_8
    config.arch = arch = defaults.adam(arg)
    arch.inverse = "cg"  # conjugate gradients, or "neumann"
    arch.curvature = "ggn"  # Gauss-Newton, never negative; or "hessian"
    arch.damping = 0.1  # added to the curvature; a supernet's Hessian needs it above 0
    arch.max_steps = 5  # of conjugate gradients
    arch.tolerance = 1e-2  # relative residual at which they stop
    arch.terms = 5  # of the Neumann series
    arch.neumann_rate = 0.1  # of the Neumann series; below 2 / largest curvature
    return config
