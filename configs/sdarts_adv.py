"""SDARTS-ADV: DARTS whose weights train under adversarial perturbations of alpha.

    python -m nasjax.main --config=configs/sdarts_adv.py
    python -m nasjax.main --config=configs/sdarts_adv.py:cifar10 --config.data.path=F.npz
    python -m nasjax.main --config=configs/sdarts_adv.py --config.algorithm=zarts_mgs+sdarts_adv

Alpha moves by first-order DARTS, or by another part that --config.algorithm names. Each
part has its settings under its name: --config.arch.zarts_mgs.samples=8. No argument:
scikit-learn's digits, minutes on two cores. `:cifar10`, `:cifar100`, `:svhn`,
`:imagenet`: the paper's setting (for zarts_mgs add --config.search.warmup_epochs=10); give
the data with --config.data.path.
`:cifar10-s1` to `:svhn-s4`: in the spaces S1 to S4.
"""

from nasjax.experiment import defaults


def get_config(arg=None):
    config = defaults.settings(arg)
    config.algorithm = "sdarts_adv"
    return config
