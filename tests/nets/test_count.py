"""Counts against counts measured on the original PyTorch networks."""

import jax
import jax.numpy as jnp
import pytest

from nasjax.core.errors import UserError
from nasjax.nets import count_genotype, count_supernet, genotype_network, parameters
from nasjax.nets.count import multiply_adds, traced
from nasjax.nets.heads import AuxiliaryHead
from nasjax.nets.layers import ReLUConvBN, Style
from nasjax.nets.network import supernet
from nasjax.nets.operations import OPERATIONS
from nasjax.spaces import SPACES, Macro
from nasjax.spaces.mix import Weights
from nasjax.spaces.published import PUBLISHED
from nasjax.spaces.rules import random_genotype

# Parameters of three networks, each without and with the auxiliary head: CIFAR-10 and
# CIFAR-100 at (C, L) = (36, 20), ImageNet at (48, 14); then of CIFAR-10 at (16, 20) and
# CIFAR-100 at (16, 8). Multiply-adds of CIFAR-10 at (36, 20) and ImageNet at (48, 14).
TABLE = {
    "darts_v1": (
        3_169_414, 3_645_840, 3_221_344, 3_766_980, 4_510_432, 5_771_208,
        671_034, 256_020, 500_987_520, 505_864_704,
    ),
    "darts_v2": (
        3_349_342, 3_825_768, 3_401_272, 3_946_908, 4_718_752, 5_979_528,
        710_682, 269_236, 528_359_040, 529_911_552,
    ),
    "pc_darts_cifar": (
        3_634_678, 4_111_104, 3_686_608, 4_232_244, 5_270_560, 6_531_336,
        788_218, 358_868, 556_670_592, 571_137_408,
    ),
    "pc_darts_imagenet": (
        3_721_510, 4_197_936, 3_773_440, 4_319_076, 5_342_464, 6_603_240,
        799_290, 350_676, 570_466_944, 581_627_328,
    ),
    "pdarts": (
        3_433_798, 3_910_224, 3_485_728, 4_031_364, 4_944_352, 6_205_128,
        737_338, 315_156, 532_174_464, 542_819_328,
    ),
    "prdarts": (
        3_444_814, 3_921_240, 3_496_744, 4_042_380, 4_981_312, 6_242_088,
        735_834, 320_820, 529_769_088, 543_374_400,
    ),
    "gdas_v1": (
        3_368_782, 3_845_208, 3_420_712, 3_966_348, 4_969_216, 6_229_992,
        744_282, 353_460, 519_428_736, 537_597_888,
    ),
    "sdarts_rs": (
        3_606_166, 4_082_592, 3_658_096, 4_203_732, 5_120_320, 6_381_096,
        780_026, 324_244, 562_393_728, 566_762_688,
    ),
    "sdarts_adv": (
        3_344_806, 3_821_232, 3_396_736, 3_942_372, 4_768_864, 6_029_640,
        723_386, 294_036, 526_755_456, 531_567_360,
    ),
}  # fmt: skip


HEADS = {(10, "cifar"): 476_426, (100, "cifar"): 545_636, (1000, "imagenet"): 1_260_776}


def test_every_published_cell_is_in_a_table():
    """The table of the cells of S1 to S4 is in tests/spaces/test_hard_spaces.py."""
    hard = {name for name in PUBLISHED if name[-3:] in ("_s1", "_s2", "_s3", "_s4")}
    assert set(TABLE) == set(PUBLISHED) - hard and len(hard) == 24


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "darts_v2" else pytest.mark.slow)
        for name in TABLE
    ],
)
def test_published_cells(name):
    genotype = PUBLISHED[name]
    cifar = count_genotype(genotype, 36, 20, 10, 32)
    imagenet = count_genotype(genotype, 48, 14, 1000, 224, stem="imagenet")
    params = lambda *net, **more: count_genotype(genotype, *net, 32, **more)["params"]
    cifar_100 = params(36, 20, 100, auxiliary=True)
    found = (
        cifar["params"],
        cifar["params"] + HEADS[10, "cifar"],
        cifar_100 - HEADS[100, "cifar"],
        cifar_100,
        imagenet["params"],
        imagenet["params"] + HEADS[1000, "imagenet"],
        params(16, 20, 10),
        params(16, 8, 100),
        cifar["macs"],
        imagenet["macs"],
    )
    assert found == TABLE[name]


SEPARATE = SPACES["darts7"].separate(3)
WHOLE = {  # every operation, with and without stride; fixed edges, lists, separate cells
    "darts": SPACES["darts"],
    "s1": SPACES["s1"],
    "cells": SEPARATE.fixed(),
    "nasbench201": SPACES["nasbench201"],
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_supernet_is_counted_as_if_it_were_traced_as_a_whole(name):
    space = WHOLE[name]
    macro = Macro.of(space, 4, 3, "cifar", search=True)
    mix = {k: Weights(jnp.zeros(space.alpha_shape(k))) for k in space.types}
    whole = traced(supernet(space, macro, 5, "conv"), mix, macro, (9, 7), 1)
    assert count_supernet(space, 4, 3, 5, (9, 7), 1) == whole


@pytest.mark.parametrize(
    ("space", "cells", "stem", "size"),
    [
        (SPACES["darts7"], 20, "cifar", (9, 7)),
        (SEPARATE, 3, "imagenet", (72, 33)),
        (SPACES["s4"], 3, "cifar", (9, 7)),
        (SPACES["nasbench201"], 5, "cifar", (9, 7)),
    ],
)
def test_a_genotype_is_counted_as_if_it_were_traced_as_a_whole(
    space, cells, stem, size
):
    macro, cell = Macro.of(space, 4, cells, stem), random_genotype(1, space)
    whole = traced(genotype_network(cell, macro, 5, False, "conv"), {}, macro, size, 1)
    assert count_genotype(cell, 4, cells, 5, size, 1, stem) == whole


def test_an_operation_that_is_replaced_is_counted_anew(monkeypatch):
    """A dense convolution, with a kernel for each pair of channels, is counted anew."""
    cell = random_genotype(0, SPACES["s2"])
    before = count_genotype(cell, 4, 2, 5, 8)
    dense = lambda channels, stride, style: ReLUConvBN(channels, style, 3, stride)
    for name in ("skip_connect", "sep_conv_3x3"):
        monkeypatch.setitem(OPERATIONS, name, dense)
    after = count_genotype(cell, 4, 2, 5, 8)
    macro = Macro.of(SPACES["s2"], 4, 2, "cifar")
    network = genotype_network(cell, macro, 5, spelling="conv")
    assert after == traced(network, {}, macro, (8, 8), 3) != before


@pytest.mark.parametrize(("classes", "stem"), HEADS)
def test_auxiliary_head(classes, stem):
    """Its input has 4 * 144 channels on CIFAR and 4 * 192 on ImageNet."""
    head = AuxiliaryHead(classes, stem, Style(False, "conv"))
    maps = (8, 576, 8, 1) if stem == "cifar" else (7, 768, 7, 1)
    variables = jax.eval_shape(
        lambda x: head.init(jax.random.key(0), x, True),
        jax.ShapeDtypeStruct(maps, jnp.float32),
    )
    assert parameters(variables["params"]) == HEADS[classes, stem]


def test_an_auxiliary_head_is_counted_on_demand():
    """64 -> 128, 2 x 2 to 768, two norms, 10 classes; evaluation does not use it."""
    plain, more = (
        count_genotype(PUBLISHED["darts_v1"], 4, 3, 10, 32, auxiliary=asked)
        for asked in (False, True)
    )
    head = 64 * 128 + 4 * 128 * 768 + 2 * (128 + 768) + 768 * 10 + 10
    assert more == {"params": plain["params"] + head, "macs": plain["macs"]}


def test_gdas_on_imagenet():
    counts = count_genotype(PUBLISHED["gdas_v1"], 50, 14, 1000, 224, stem="imagenet")
    assert counts["params"] == 5_345_075


@pytest.mark.parametrize(
    "space", ["darts", "darts7", "amended_s2", "amended_s3", "s1", "s2", "s3", "s4",
              "nasbench201"],
)  # fmt: skip
def test_supernets(space):
    """`none` has no parameters. The spaces of DARTS-Bench-Suite: test_bench_suite."""
    full, small = (1_930_618, 1_953_748), (665_466, 688_596)
    published = {
        "darts": full, "darts7": full, "amended_s2": small, "amended_s3": small,
        "s1": (405_146, 428_276), "s2": small, "s3": small, "s4": (624_506, 647_636),
        # By hand: stem, 60 C^2 in each of 2, 3, 3 cells, blocks, last norm, classifier.
        "nasbench201": (1_025_626, 1_031_476),
    }  # fmt: skip
    cifar = [count_supernet(SPACES[space], 16, 8, n, 32) for n in (10, 100)]
    assert tuple(count["params"] for count in cifar) == published[space]
    width = 64 if space == "nasbench201" else 256
    assert cifar[1]["macs"] - cifar[0]["macs"] == width * 90


@pytest.mark.parametrize("space", ["darts", "darts7"])
def test_imagenet_supernet(space):
    imagenet = count_supernet(SPACES[space], 16, 8, 1000, 224, stem="imagenet")
    assert imagenet["params"] == 2_215_648


def test_other_images():
    """Image channels change only the stem: 2 fewer channels, 3 x 3, to 3 C = 12 features."""
    darts = PUBLISHED["darts_v2"]
    colour = count_genotype(darts, 4, 3, 10, 8)
    grey = count_genotype(darts, 4, 3, 10, 8, in_channels=1)
    assert colour["params"] - grey["params"] == 2 * 9 * 12
    assert colour["macs"] - grey["macs"] == 2 * 9 * 12 * 8 * 8
    with pytest.raises(UserError, match="3x3 are too small for 2 reductions"):
        count_genotype(darts, 4, 3, 10, 3)


def test_multiply_adds_by_hand():
    """A grouped convolution, a product, a scan and a nested program."""

    def program(x, depthwise, matrix):
        x = jax.lax.conv_general_dilated(
            x, depthwise, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=4,
        )  # fmt: skip
        once = jax.jit(lambda x: x @ matrix)
        return jax.lax.scan(lambda x, _: (once(x), None), x, length=5)[0]

    arrays = [jnp.zeros(shape) for shape in ((2, 6, 6, 4), (3, 3, 1, 4), (4, 4))]
    jaxpr = jax.make_jaxpr(program)(*arrays).jaxpr
    convolution, product = 2 * 3 * 3 * 4 * 9, 2 * 3 * 3 * 4 * 4
    assert multiply_adds(jaxpr) == convolution + 5 * product
