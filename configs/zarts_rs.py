"""ZARTS-RS: alpha moved by random search, finite differences along random directions.

    python -m nasjax.main --config=configs/zarts_rs.py
    python -m nasjax.main --config=configs/zarts_rs.py:cifar10 --config.data.path=F.npz

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`, `:imagenet`: the paper's setting (GPU-days); give the data with
--config.data.path.
"""

from nasjax.experiment import defaults


def get_config(arg=None):
    config = defaults.zarts(arg)
    config.algorithm = "zarts_rs"
    arch = config.arch
    arch.samples = 2  # N, directions of one move; each takes two candidates
    arch.radius = 0.1  # mu, how far a candidate is from alpha, in each type of cell
    arch.rate = 0.2  # xi, learning rate of alpha
    arch.distribution = "sphere"  # of the directions; or "normal"
    arch.antithetic = True  # pairs alpha +- mu u; False: all against alpha itself
    if not defaults.short(arg):
        arch.samples, arch.rate = 8, 1e-4
    return config
