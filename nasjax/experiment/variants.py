"""The settings of papers and benchmarks, as variants of every config."""

from __future__ import annotations

from ml_collections import ConfigDict

from nasjax.spaces import DARTS_7

PAPER = ("cifar10", "cifar100", "svhn", "imagenet")
HARD = ("s1", "s2", "s3", "s4")  # spaces in which searches collapse
SUITE = {  # DARTS-Bench-Suite: width, depth, batch of the search, space
    "wide": (18, 4, 96, "darts"),
    "deep": (7, 18, 64, "darts"),
    "single_cell": (26, 1, 96, "darts_8_nodes"),
    "wide_no_skip": (18, 4, 96, "darts_no_skip"),
    "deep_no_skip": (7, 18, 64, "darts_no_skip"),
    "single_cell_no_skip": (26, 1, 96, "darts_8_nodes_no_skip"),
}
SMALL = "nasbench201-small"
VARIANTS = (
    *PAPER,
    *(f"{data}-{space}" for data in PAPER[:3] for space in HARD),
    *(f"cifar10-{benchmark}" for benchmark in SUITE),
    "nasbench201",
    SMALL,
)


def nasbench201(config: ConfigDict, small: bool) -> None:
    """A search that is judged by the benchmark's table: nothing is retrained.

    Supernet, learning rates, batch and epochs are the same as in the benchmark's
    searches (Dong, Yang, arXiv 2001.00326, section 5). The benchmark uses Nesterov
    momentum and evaluates with batch moments; nasjax uses plain momentum and evaluates
    with running moments. `small` is a supernet of three cells on images of 16 x 16.
    """
    config.space.name, config.data.name = "nasbench201", "cifar10"
    config.data.pad, config.data.flip = 4, True
    config.data.fractions = (0.5, 0.5, 0.0)  # with --config.data.test_path
    config.search.update(
        channels=16, cells=15, epochs=50, warmup_epochs=0, batch=64, rate=0.025,
        rate_min=0.001, weight_decay=5e-4,
    )  # fmt: skip
    config.retrain.update(
        channels=16, cells=15, epochs=0, cutout=0, drop_path=0.0, auxiliary=0.0
    )
    if small:
        config.data.pad, config.data.shrink = 2, 2
        config.search.update(
            channels=8, cells=3, epochs=5, warmup_epochs=1, batch=32, rate=0.05
        )


def paper(config: ConfigDict, arg: str) -> None:
    """The setting of DARTS and ZARTS: half of the training set for each level.

    No random architectures are retrained beside: each would cost as much as the search.

    In S1 to S4 the nets retrained on CIFAR-100 and SVHN are smaller (SmoothDARTS,
    section 5.5).

    On ImageNet the data of the search is a quarter of the training set, of one image
    size. Retraining crops after padding; the papers crop and resize at random.
    """
    name, _, config.space.name = arg.partition("-")
    benchmark = config.space.name if config.space.name in SUITE else ""
    config.space.primitives = DARTS_7
    config.data.name = name
    config.data.fractions = (0.4, 0.4, 0.2)  # halves, if there is a test file
    config.data.pad, config.data.flip = 4, True
    config.search.update(
        channels=16, cells=8, epochs=50, warmup_epochs=0, batch=64, rate=0.025,
        rate_min=0.001,
    )  # fmt: skip
    config.retrain.update(
        channels=36, cells=20, epochs=600, batch=96, rate=0.025, cutout=16,
        drop_path=0.2, auxiliary=0.4, random=0,
    )  # fmt: skip
    config.collapse.update(
        interval=2, images=config.search.batch, products=16, probes=4
    )
    if benchmark:
        _suite(config, *SUITE[benchmark])
    if config.space.name and name != "cifar10":
        config.retrain.update(channels=16, cells=8)
    if name == "imagenet":
        config.search.batch = 256
        config.retrain.update(
            channels=48, cells=14, epochs=250, batch=1024, rate=0.5, schedule="linear",
            warmup_epochs=5, weight_decay=3e-5, label_smoothing=0.1, cutout=0,
            drop_path=0.0,
        )  # fmt: skip


def _suite(config: ConfigDict, width: int, depth: int, batch: int, space: str) -> None:
    """A benchmark of DARTS-Bench-Suite (Jha et al., AutoML 2025, arXiv 2507.16533).

    The network that is retrained is as large as the supernet. The suite takes the search
    with the lowest validation loss of three seeds and trains its architecture with nine
    settings: rates 0.025, 0.1, 0.01 times weight decays 1e-4, 3e-4, 1e-3; one of them is
    set here. Its three benchmarks with a further skip connection on every edge are not
    variants. Batch, rates and epochs are from the suite's scripts, the rest as in DARTS.
    """
    config.space.name = space
    config.search.update(channels=width, cells=depth, epochs=100, batch=batch)
    config.retrain.update(channels=width, cells=depth, epochs=300, batch=512)
