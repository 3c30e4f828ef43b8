"""The settings that all configs share, field by field.

A config file picks an algorithm and takes the rest from `settings`: the embedded
default (digits, minutes on two cores) or the setting of a paper for a data set. The file
of each part, in `nasjax/search/algorithms/`, documents the settings of the part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict, FieldReference

from nasjax.core.errors import unknown
from nasjax.experiment import variants
from nasjax.experiment.variants import SMALL, VARIANTS
from nasjax.search.algorithms import PARTS, parse
from nasjax.search.directions import SHORT
from nasjax.spaces import DARTS_7, SPACES
from nasjax.tasks import DOMAINS

FORMAT = 3  # of configs; 2 had another attack as `saliency`, 1 had `base`

# Fields that make several runs of a config; no run records them.
OF_COMMANDS = ("seeds", "seeds_at_once")

# Fields that compiled programs do not depend on: unused there, or passed as arguments.
TRACED = (
    "checkpoint_every",
    "compile_cache",
    "data.path",
    "data.split_seed",
    "data.test_path",
    "log_every",
    "genotype",
    "retrain.epochs",
    "retrain.random",
    "retrain.rate",
    "retrain.reweighted",
    "retrain.seeds",
    "retrain.weight_decay",
    "search.epochs",
    "search.rate",
    "search.rate_min",
    "search.weight_decay",
    "seed",
    "space.table",
)


def free_on_resume() -> tuple[str, ...]:
    """Fields that do not change the results of a run: it may resume with other values."""
    return (
        *(
            f"arch.{name}.{field}"
            for name, part in PARTS.items()
            for field in part.free
        ),
        "checkpoint_every",
        "compile_cache",
        "log_every",
        "remat",
        "space.table",
    )


def settings(arg: str | None = None) -> ConfigDict:
    """The shared settings.

    Args:
      arg: None for the embedded default; "cifar10", "cifar100", "svhn" or "imagenet"
        for the setting of the DARTS and ZARTS papers on that data set; "cifar10-s1" to
        "svhn-s4" for the setting of R-DARTS and SmoothDARTS in the spaces S1 to S4;
        "cifar10-wide" to "cifar10-single_cell_no_skip" for benchmarks of
        DARTS-Bench-Suite;
        "nasbench201" for the setting of NAS-Bench-201; "nasbench201-small" for a
        setting that takes minutes on a CPU core.

    Raises:
      UserError: `arg` has another value.
    """
    if arg is not None and arg not in VARIANTS:
        raise unknown("config variant", arg, VARIANTS)
    config = ConfigDict()
    config.format = FORMAT  # version of the config format
    config.algorithm = "darts_first"  # parts joined by "+"; `nasjax list` shows them
    config.genotype = ""  # architecture to train without a search; "": search
    config.task = "images"  # kind of data
    config.seed = 0  # governs initial values, data order, augmentation, proposals
    config.seeds = 1  # number of runs: seed, seed + 1, ...; each has its own folder
    config.seeds_at_once = 0  # searches in one program; 0: 1 on a CPU, else what fits
    config.parallel = "jit"  # how steps are split over devices: "jit" or "pmap"
    config.devices = 0  # how many devices to use; 0 for all
    config.lowering = "auto"  # spelling of convolutions: "auto", "conv" or "shift"
    config.precision = "float32"  # of maps; or "bfloat16"; weights stay float32
    config.remat = (
        "auto"  # recomputed for gradients: "none", "edge" or "cell" (least memory)
    )
    config.compile_cache = "auto"  # folder of compiled programs; "off" for none
    config.log_every = 50  # steps between lines of the log
    config.checkpoint_every = 200  # steps between checkpoints

    config.data = data = ConfigDict()
    data.name = "digits"  # embedded data set, or a label for `path`
    data.path = ""  # folder, .npz, .npy or .csv; docs/data.md
    data.test_path = ""  # separate test file; "" takes the test part from `path`
    data.fractions = ()  # weight, architecture and test parts; (): see `by_data`
    data.split_seed = 0  # seed of the split, independent of `seed`
    data.resize = _any(0)  # side of a square, or (height, width); 0: one size already
    data.crop = _any(True)  # middle kept, undistorted; or its size; False: stretched
    data.shrink = 1  # factor by which images are made smaller, averaging pixels
    data.pad = 1  # pixels of padding before a random crop
    data.flip = False  # random horizontal flip

    config.space = space = ConfigDict()
    space.name = ""  # a space of `nasjax list`, such as "s1"; "" for `primitives`
    space.primitives = ()  # operations on every edge, if `name` is ""; (): see `by_data`
    space.edges = "pruned"  # after the search; or "fixed"; or "searched" first
    space.none = "auto"  # in architectures: the space's rule; or "kept", "barred"
    space.table = ""  # CSV of NAS-Bench-201's true accuracies; "": the packaged one
    space.share = True  # cells of a type share alpha; False: each cell has its own

    config.search = search = ConfigDict()
    search.channels = 8  # C of the first cell
    search.cells = 3  # depth of the supernet; reductions at a third and two thirds
    search.epochs = 16  # passes over the weight part
    search.warmup_epochs = 2  # epochs in which only the weights train
    search.batch = 32  # examples in a batch, for weights and alpha
    search.rate = 0.05  # learning rate of the weights, cosine per epoch ...
    search.rate_min = 0.005  # ... down to this
    search.momentum = 0.9  # SGD
    search.nesterov = False  # True: Nesterov's momentum
    search.weight_decay = 3e-4  # L2, added to the clipped gradient
    search.clip = 5.0  # largest global norm of the gradient; 0 does not clip
    search.alpha_spread = 1e-3  # deviation of alpha's normal initial values; 0: equal
    search.cutout = 0  # side of the square cut out of each image; 0 for none
    search.cutout_ramp = False  # True: the probability of cutout grows from 0 to 1
    search.drop_path = 0.0  # p; its probability is p epoch / epochs, from epoch 0
    search.auxiliary = 0.0  # weight of an auxiliary head's training loss; 0: no head

    config.collapse = collapse = ConfigDict()
    collapse.interval = 0  # epochs between measurements of the curvature; 0: none
    collapse.images = 16  # validation images of a measurement
    collapse.products = 8  # Hessian-vector products for the dominant eigenvalue
    collapse.probes = 2  # Hessian-vector products for the trace; 0: no trace
    collapse.remedy = "none"  # or "stop" (DARTS-ES), "adapt" (DARTS-ADA)
    collapse.penalty = 0.0  # weight of the Hessian's norm in alpha's loss
    collapse.most_skips = 8  # skip connections that a normal cell keeps; 8: any number

    config.arch = arch = ConfigDict()  # the settings of every part of `algorithm`
    for name, part in PARTS.items():
        arch[name] = ConfigDict(part.settings(scale(arg)))

    config.saliency = saliency = ConfigDict()
    saliency.steps = 7  # steps of the attack that finds delta
    saliency.eps = 8 / 255  # largest |delta|, in pixels from 0 to 1
    saliency.step = 2 / 255  # length of a step of the attack, in the unit of `eps`
    saliency.target = "predicted"  # f(x + delta) leaves it; or "soft", "label"
    saliency.ascent = "gradient"  # eq. 2 of SANAS, iterated; or "pgd", sign ascent
    saliency.rate = 0.0  # xi_delta of eq. 2; 0: step over an image's mean |gradient|
    saliency.mode = "scaled"  # |delta| / eps * x; or "absolute", "signed" (delta * x)
    saliency.detach = False  # True: no hypergradient through delta

    config.retrain = retrain = ConfigDict()
    retrain.channels = 8  # C of the first cell
    retrain.cells = 3  # depth
    retrain.epochs = 20  # passes over weight and architecture parts; 0: search only
    retrain.batch = 32  # examples in a batch
    retrain.rate = 0.05  # learning rate ...
    retrain.schedule = "cosine"  # ... down to 0 by epoch: "cosine" or "linear"
    retrain.warmup_epochs = 0  # warm-up of the "linear" schedule
    retrain.label_smoothing = 0.0  # share of the target spread over all classes
    retrain.momentum = 0.9  # SGD
    retrain.weight_decay = 3e-4  # L2, added to the clipped gradient
    retrain.clip = 5.0  # largest global norm of the gradient; 0 does not clip
    retrain.cutout = 2  # side of the square cut out of each image; 0 for none
    retrain.drop_path = 0.1  # p; its probability is p epoch / epochs, from epoch 0
    retrain.auxiliary = 0.0  # weight of the auxiliary head's loss; 0 for no head
    retrain.seeds = 1  # number of trainings of the architecture
    retrain.random = 3  # number of random architectures that are trained the same way
    retrain.reweighted = False  # True: train a second network on reweighted images

    for name, kind in DOMAINS.items():
        if fields := kind.settings(scale(arg)):
            if name in config:
                raise ValueError(f"A kind of data cannot be called {name!r}.")
            config[name] = ConfigDict(fields)

    if arg in ("nasbench201", SMALL):
        variants.nasbench201(config, small=arg == SMALL)
    elif arg is not None:
        variants.paper(config, arg)
    return config


def by_data(config: ConfigDict) -> None:
    """Fills `space.primitives` and `data.fractions` where they are open, `()`.

    On the embedded digits the space is S4 of R-DARTS, a noise operation beside a
    separable convolution, and a fifth of the images trains the weights: there cells
    differ in accuracy by more than the test part's standard error. On other data the
    operations are those of DARTS without `none`, and the fractions are 0.4, 0.4, 0.2.
    """
    data = config.data
    embedded = data.name == "digits" and not data.path and config.task == "images"
    if not config.space.name and not config.space.primitives:
        config.space.primitives = SPACES["s4"].primitives if embedded else DARTS_7
    if not data.fractions:
        data.fractions = (0.2, 0.2, 0.6) if embedded else (0.4, 0.4, 0.2)


def _any(value: Any) -> FieldReference:
    """A field that takes values of several kinds."""
    return FieldReference(value, field_type=object)


def scale(arg: str | None) -> str:
    """The size of a variant, from which parts choose their default settings.

    One of "embedded", "small" (both: minutes on a CPU), "paper" and "imagenet".
    """
    if arg is None or arg == SMALL:
        return "small" if arg else "embedded"
    return "imagenet" if arg.startswith("imagenet") else "paper"


def short(arg: str | None) -> bool:
    """True if a search takes minutes on a CPU."""
    return scale(arg) in SHORT


def named(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The parts that a config's `algorithm` names.

    Raises:
      UserError: a name is unknown, or two parts cannot be combined.
    """
    return parse(config["algorithm"])


def pruned(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config as nested dictionaries, with the settings of the named parts and of its
    kind of data only, and without `OF_COMMANDS`."""
    names, fields = named(config), dict(config)
    fields["arch"] = {name: fields["arch"].get(name, {}) for name in names}
    others = {k for k, kind in DOMAINS.items() if kind.settings(scale(None))}
    left_out = {*others - {fields["task"]}, *OF_COMMANDS}
    return {k: v for k, v in fields.items() if k not in left_out}
