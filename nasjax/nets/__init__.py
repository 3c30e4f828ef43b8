"""Operations, cells and networks; pure functions outside, flax.linen underneath."""

from nasjax.nets.count import choice_macs, count_genotype, count_supernet, parameters
from nasjax.nets.edges import EdgeFactory, Mixed
from nasjax.nets.network import Model, Output, genotype_network, supernet
from nasjax.nets.own import nhwc

__all__ = [
    "EdgeFactory",
    "Mixed",
    "Model",
    "Output",
    "choice_macs",
    "count_genotype",
    "count_supernet",
    "genotype_network",
    "nhwc",
    "parameters",
    "supernet",
]
