"""ZARTS-MGS: alpha moved by maximum-likelihood guided search (zero order).

    python -m nasjax.main --config=configs/zarts_mgs.py
    python -m nasjax.main --config=configs/zarts_mgs.py:cifar10 --config.data.path=F.npz

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`: the paper's setting (GPU-days); give the data with --config.data.path.
"""

from ml_collections import ConfigDict

from nasjax import defaults


def get_config(arg=None):
    config = defaults.settings(arg)
    config.algorithm = "zarts_mgs"
    config.arch = arch = ConfigDict()
    arch.every = 4  # weight steps between two moves of alpha
    arch.samples = 4  # N, candidates of one move
    arch.inner_steps = 4  # M, weight steps each candidate trains for
    arch.inner_rate = 0.0  # learning rate of those; 0: the weights' current one
    arch.spread = 0.025  # standard deviation of the proposal, cosine to 0
    arch.temperature = 0.01  # tau, in units of the loss
    arch.chunk = 0  # candidates evaluated at once; 0: all. Fewer take less memory
    arch.mixture = 1e-3  # share of candidates drawn around 0, not around -gradient
    arch.weights = (
        "likelihood"  # or "importance", the printed eq. 8 (see nasjax.zeroth)
    )
    if arg is not None:
        arch.every = arch.inner_steps = 10
        config.search.warmup_epochs = 10
    return config
