"""Training of a given architecture without search: published, of a run, or a text.

    python -m nasjax.main --config=configs/retrain.py
    python -m nasjax.main --config=configs/retrain.py:cifar10 --config.data.path=F.npz

`--config.genotype` is a published name of `nasjax list`, a file, the folder of a run, or
a text such as "Genotype(normal=[...], ...)" or "|nor_conv_3x3~0|+|...". The space is the
genotype's; of a run also the data, unless they are given. `--config.retrain.seeds=3`
trains it three times. No argument: scikit-learn's digits, with three random
architectures beside it. `:cifar10`, `:cifar100`, `:svhn`, `:imagenet`: the recipe of the
papers, without random architectures. `:nasbench201`: the recipe of NAS-Bench-201.
"""

from nasjax.experiment import architecture


def get_config(arg=None):
    config = architecture.settings(arg)
    config.genotype = "darts_v2"  # second-order DARTS on CIFAR-10
    return config
