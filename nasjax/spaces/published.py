"""Published convolutional cells of the DARTS space, by name.

Transcribed from the authors' repositories: quark0/darts (arXiv 1806.09055),
yuhuixu1993/PC-DARTS (1907.05737), chenxin061/pdarts (1904.12760),
salesforce/PR-DARTS (2006.16537), D-X-Y/AutoDL-Projects for GDAS (1910.04465) and
xiangning-chen/SmoothDARTS for SDARTS (2002.05283).
"""

from __future__ import annotations

from nasjax.spaces.genotype import Genotype

_OPS = {
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "skip": "skip_connect",
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
}


def _cell(text: str) -> tuple[tuple[str, int], ...]:
    """Reads "op source op source | ...", one group per node 2, 3, 4, 5."""
    words = text.replace("|", " ").split()
    pairs = zip(words[::2], words[1::2], strict=True)
    return tuple((_OPS[op], int(source)) for op, source in pairs)


def _darts(normal: str, reduce: str) -> Genotype:
    cells = {"normal": _cell(normal), "reduce": _cell(reduce)}
    return Genotype("darts", cells, (2, 3, 4, 5))


# Cells of SmoothDARTS on S1 to S4: DATA_SPACE_pgd and DATA_SPACE_random in its code.
_S1_TO_S4 = """
sdarts_adv_c100_s1
  dil5 1 dil3 0 | dil3 2 sep3 1 | dil3 3 sep3 2 | dil3 2 sep3 0
  dil3 1 max 0 | dil5 2 max 0 | dil5 3 sep3 1 | dil5 3 dil5 4
sdarts_rs_c100_s1
  dil3 0 skip 1 | dil3 2 sep3 1 | dil3 3 sep3 2 | skip 0 dil3 4
  max 0 max 1 | dil5 2 max 1 | dil5 3 dil3 2 | dil5 4 dil5 3
sdarts_adv_c100_s2
  skip 0 sep3 1 | sep3 2 sep3 1 | sep3 3 sep3 2 | sep3 4 sep3 3
  sep3 1 sep3 0 | sep3 2 sep3 1 | sep3 3 sep3 2 | sep3 3 sep3 4
sdarts_rs_c100_s2
  sep3 0 sep3 1 | sep3 2 sep3 0 | sep3 3 sep3 2 | sep3 4 sep3 3
  sep3 1 sep3 0 | sep3 2 sep3 1 | sep3 3 sep3 1 | sep3 4 skip 0
sdarts_adv_c100_s3
  sep3 0 sep3 1 | sep3 0 sep3 1 | sep3 1 sep3 2 | sep3 2 sep3 1
  skip 1 sep3 0 | sep3 2 sep3 0 | sep3 3 sep3 2 | sep3 4 sep3 3
sdarts_rs_c100_s3
  sep3 1 sep3 0 | sep3 1 sep3 2 | sep3 1 sep3 0 | sep3 4 sep3 1
  sep3 0 sep3 1 | sep3 2 sep3 1 | sep3 3 sep3 2 | sep3 4 sep3 3
sdarts_adv_c100_s4
  sep3 0 sep3 1 | sep3 0 sep3 1 | sep3 1 sep3 0 | sep3 0 sep3 2
  sep3 0 sep3 1 | sep3 1 sep3 0 | sep3 1 sep3 3 | sep3 3 sep3 4
sdarts_rs_c100_s4
  sep3 0 sep3 1 | sep3 2 sep3 0 | sep3 2 sep3 3 | sep3 3 sep3 2
  sep3 0 sep3 1 | sep3 2 sep3 0 | sep3 3 sep3 2 | sep3 4 sep3 3
sdarts_adv_c10_s1
  dil5 1 dil3 0 | sep3 1 skip 2 | sep3 2 dil3 3 | sep3 0 dil3 2
  max 0 dil3 1 | dil5 2 max 0 | dil5 3 dil3 2 | dil5 4 dil5 2
sdarts_rs_c10_s1
  dil5 1 dil3 0 | sep3 1 skip 2 | dil3 3 sep3 2 | sep3 0 dil3 2
  max 0 dil3 1 | dil5 2 max 1 | dil5 3 sep3 1 | dil5 2 dil5 3
sdarts_adv_c10_s2
  sep3 1 skip 0 | sep3 2 sep3 0 | sep3 3 sep3 2 | sep3 4 sep3 1
  skip 0 skip 1 | sep3 0 sep3 2 | sep3 3 sep3 0 | sep3 4 sep3 3
sdarts_rs_c10_s2
  sep3 0 sep3 1 | sep3 2 skip 1 | sep3 3 skip 0 | sep3 1 skip 2
  sep3 0 sep3 1 | sep3 1 sep3 0 | sep3 2 sep3 1 | sep3 2 sep3 3
sdarts_adv_c10_s3
  sep3 1 sep3 0 | sep3 0 sep3 2 | sep3 1 sep3 0 | sep3 1 skip 0
  sep3 1 sep3 0 | sep3 2 sep3 0 | sep3 2 sep3 0 | sep3 1 sep3 3
sdarts_rs_c10_s3
  sep3 1 sep3 0 | sep3 1 sep3 0 | sep3 1 sep3 2 | sep3 4 skip 0
  skip 0 sep3 1 | sep3 2 sep3 0 | sep3 2 sep3 3 | sep3 0 sep3 4
sdarts_adv_c10_s4
  sep3 1 sep3 0 | sep3 2 sep3 1 | sep3 3 sep3 2 | sep3 3 sep3 4
  sep3 1 sep3 0 | sep3 2 sep3 1 | sep3 2 sep3 3 | sep3 3 sep3 4
sdarts_rs_c10_s4
  sep3 1 sep3 0 | sep3 2 sep3 1 | sep3 3 sep3 2 | sep3 4 sep3 2
  sep3 0 sep3 1 | sep3 0 sep3 2 | sep3 0 sep3 3 | sep3 0 sep3 4
sdarts_adv_svhn_s1
  dil3 0 dil5 1 | dil3 2 dil5 0 | dil3 3 sep3 2 | skip 1 sep3 0
  max 0 dil3 1 | dil5 2 max 0 | dil5 3 dil3 2 | dil5 3 dil5 2
sdarts_rs_svhn_s1
  skip 0 dil5 1 | skip 1 skip 0 | skip 2 skip 0 | skip 1 skip 2
  max 0 dil3 1 | dil5 2 max 0 | dil5 3 dil3 2 | dil5 2 dil5 3
sdarts_adv_svhn_s2
  skip 0 sep3 1 | sep3 1 sep3 2 | sep3 0 skip 3 | skip 3 skip 4
  sep3 1 sep3 0 | sep3 1 sep3 0 | sep3 3 sep3 0 | skip 3 sep3 0
sdarts_rs_svhn_s2
  sep3 1 skip 0 | sep3 2 sep3 0 | sep3 3 skip 1 | skip 0 sep3 4
  sep3 1 skip 0 | sep3 2 sep3 1 | sep3 3 sep3 2 | sep3 3 sep3 4
sdarts_adv_svhn_s3
  sep3 1 sep3 0 | sep3 0 skip 2 | skip 3 sep3 1 | skip 2 sep3 0
  sep3 1 sep3 0 | sep3 1 sep3 2 | sep3 2 sep3 1 | sep3 1 sep3 4
sdarts_rs_svhn_s3
  sep3 1 sep3 0 | sep3 2 sep3 1 | sep3 1 sep3 3 | sep3 4 sep3 2
  sep3 1 sep3 0 | sep3 2 skip 0 | sep3 3 sep3 2 | sep3 4 sep3 3
sdarts_adv_svhn_s4
  sep3 1 sep3 0 | sep3 0 sep3 1 | sep3 0 sep3 1 | sep3 0 sep3 1
  sep3 1 sep3 0 | sep3 1 sep3 2 | sep3 2 sep3 0 | sep3 0 sep3 1
sdarts_rs_svhn_s4
  sep3 1 sep3 0 | sep3 1 sep3 0 | sep3 3 sep3 1 | sep3 4 sep3 2
  sep3 1 sep3 0 | sep3 2 sep3 0 | sep3 2 sep3 3 | sep3 4 sep3 0
"""

_LINES = _S1_TO_S4.strip().splitlines()

PUBLISHED: dict[str, Genotype] = (
    {
        "darts_v1": _darts(  # first order
            "sep3 1 sep3 0 | skip 0 sep3 1 | skip 0 sep3 1 | sep3 0 skip 2",
            "max 0 max 1 | skip 2 max 0 | max 0 skip 2 | skip 2 avg 0",
        ),
        "darts_v2": _darts(  # second order
            "sep3 0 sep3 1 | sep3 0 sep3 1 | sep3 1 skip 0 | skip 0 dil3 2",
            "max 0 max 1 | skip 2 max 1 | max 0 skip 2 | skip 2 max 1",
        ),
        "pc_darts_cifar": _darts(
            "sep3 1 skip 0 | sep3 0 dil3 1 | sep5 0 sep3 1 | avg 0 dil3 1",
            "sep5 1 max 0 | sep5 1 sep5 2 | sep3 0 sep3 3 | sep3 1 sep3 2",
        ),
        "pc_darts_imagenet": _darts(  # PC_DARTS_image
            "skip 1 sep3 0 | sep3 0 skip 1 | sep3 1 sep3 3 | sep3 1 dil5 4",
            "sep3 0 skip 1 | dil5 2 max 1 | sep3 2 sep3 1 | sep5 0 sep3 3",
        ),
        "pdarts": _darts(  # found on CIFAR-10
            "skip 0 dil3 1 | skip 0 sep3 1 | sep3 1 sep3 3 | sep3 0 dil5 4",
            "avg 0 sep5 1 | sep3 0 dil5 2 | max 0 dil3 1 | dil3 1 dil5 3",
        ),
        "prdarts": _darts(  # found on CIFAR-10
            "skip 0 sep3 1 | dil3 2 sep3 0 | dil3 3 sep3 1 | dil3 4 dil3 1",
            "avg 0 dil5 1 | sep3 0 dil5 2 | sep5 1 dil3 3 | dil5 4 dil5 1",
        ),
        "gdas_v1": _darts(
            "skip 0 skip 1 | skip 0 sep5 2 | sep3 3 skip 0 | sep5 4 sep3 3",
            "sep5 0 sep3 1 | sep5 2 sep5 1 | dil5 2 sep3 1 | sep5 0 sep5 1",
        ),
        "sdarts_rs": _darts(  # c10_s5_random
            "sep3 1 sep3 0 | sep5 1 skip 0 | sep3 3 skip 1 | sep3 1 dil3 2",
            "max 0 sep3 1 | skip 2 max 0 | dil5 3 max 0 | sep3 2 sep5 3",
        ),
        "sdarts_adv": _darts(  # c10_s5_pgd
            "sep3 0 sep3 1 | sep3 1 skip 0 | sep5 0 dil3 3 | dil3 4 skip 0",
            "max 0 sep5 1 | skip 2 max 0 | skip 3 skip 2 | skip 2 sep5 4",
        ),
    }
    | {
        name: _darts(normal, reduce)
        for name, normal, reduce in zip(
            _LINES[::3], _LINES[1::3], _LINES[2::3], strict=True
        )
    }
)
