"""ZARTS-GLD: alpha moved to the best of a ladder of random steps, or not at all.

    python -m nasjax.main --config=configs/zarts_gld.py
    python -m nasjax.main --config=configs/zarts_gld.py:cifar10 --config.data.path=F.npz

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`, `:imagenet`: the paper's setting (GPU-days); give the data with
--config.data.path.
"""

from nasjax.experiment import defaults


def get_config(arg=None):
    config = defaults.zarts(arg)
    config.algorithm = "zarts_gld"
    arch = config.arch
    arch.max_radius = 0.5  # R, of the longest step, in each type of cell
    arch.min_radius = 0.125  # r, halved down to; log2(R / r) + 2 candidates
    arch.distribution = "sphere"  # of the steps; or "ball"
    if not defaults.short(arg):
        arch.max_radius, arch.min_radius = 0.13, 4.69e-6
    return config
