"""PC-DARTS: a quarter of the channels is searched, and edges have weights.

    python -m nasjax.main --config=configs/pc_darts.py
    python -m nasjax.main --config=configs/pc_darts.py:cifar10 --config.data.path=F.npz
    python -m nasjax.main --config=configs/pc_darts.py --config.algorithm=pc_darts+zarts_mgs

No argument: scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`,
`:svhn`: the setting of the paper's code; give the data with --config.data.path.
`:imagenet`: half of the channels, alpha is frozen for 35 epochs; the code's warm-up of
the weights' learning rate over 5 epochs and its clipping of alpha's gradient are left out.
`:cifar10-s1` to `:svhn-s4`: in the spaces S1 to S4 of R-DARTS.
"""

from nasjax.experiment import defaults
from nasjax.spaces import DARTS_8


def get_config(arg=None):
    config = defaults.settings(arg)
    config.algorithm = "pc_darts"
    config.space.primitives = DARTS_8 if arg else ()
    if defaults.scale(arg) == "imagenet":
        config.search.update(batch=1024, rate=0.5, rate_min=0.0, warmup_epochs=35)
        config.arch.darts_first.rate = 6e-3
    elif not defaults.short(arg):
        config.search.update(batch=256, rate=0.1, rate_min=0.0, warmup_epochs=15)
        config.arch.darts_first.rate = 6e-4
        config.retrain.drop_path = 0.3
    return config
