"""Parameters and multiply-adds, counted on the network itself.

Parameters are those of the initialised network (alpha is not one of them).
Multiply-adds are those of the convolutions and matrix products that one image takes
in evaluation mode, read off the traced program in its "conv" spelling.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nasjax.errors import UserError
from nasjax.genotype import Genotype, space_of
from nasjax.nets.network import Model, genotype_network, supernet
from nasjax.nets.operations import OPERATIONS, Style
from nasjax.spaces import CellSpace, Macro


def parameters(params) -> int:
    """Number of scalars in a pytree of arrays or shapes.

    >>> parameters({"w": jnp.zeros((3, 4)), "b": jnp.zeros(4)})
    16
    """
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def count_genotype(
    genotype: Genotype,
    channels: int,
    cells: int,
    classes: int,
    image_size: int | tuple[int, int],
    in_channels: int = 3,
    stem: str = "cifar",
    auxiliary: bool = False,
) -> dict[str, int]:
    """{"params", "macs"} of a genotype's network.

    Args:
      genotype: the cells.
      channels: C of the first cell.
      cells: number of cells L.
      classes: number of classes.
      image_size: side of the square image, or (height, width); pixels.
      in_channels: channels of the image.
      stem: "cifar" or "imagenet".
      auxiliary: also count the auxiliary head's parameters.

    Raises:
      UserError: the image is too small for the reductions or the auxiliary head.
    """
    macro = Macro.of(space_of(genotype), channels, cells, stem)
    side = image_size if isinstance(image_size, int) else min(image_size)
    if auxiliary and macro.map_sizes(side)[2 * cells // 3] < 2:
        raise UserError(
            f"Images of {side} pixels leave no 2x2 map for an auxiliary head; use "
            "larger images, or count without --auxiliary."
        )
    model = genotype_network(genotype, macro, classes, auxiliary, "conv")
    return _count(model, {}, macro, image_size, in_channels)


def count_supernet(
    space: CellSpace,
    channels: int,
    cells: int,
    classes: int,
    image_size: int | tuple[int, int],
    in_channels: int = 3,
    stem: str = "cifar",
) -> dict[str, int]:
    """{"params", "macs"} of a supernet; on ImageNet its stem is 3 C wide (PC-DARTS)."""
    macro = Macro.of(space, channels, cells, stem, search=True)
    model = supernet(space, macro, classes, spelling="conv")
    mix = {kind: jnp.zeros(space.alpha_shape(kind)) for kind in space.types}
    return _count(model, mix, macro, image_size, in_channels)


def choice_macs(
    space: CellSpace, macro: Macro, image_size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Multiply-adds of every choice in a genotype's network, cell type -> [E, O].

    Summed over the cells of the type. What `count_genotype` counts beyond those of the
    genotype's own choices (stem, preprocessing, classifier) is the same for all.
    """

    @functools.cache
    def one(name: str, channels: int, stride: int, size: tuple[int, int]) -> int:
        op = OPERATIONS[name](channels, stride, Style(False, "conv"))
        x = jax.ShapeDtypeStruct((size[0], channels, size[1], 1), jnp.float32)
        variables = jax.eval_shape(lambda x: op.init(jax.random.key(0), x, False), x)
        run = jax.make_jaxpr(lambda v, x: op.apply(v, x, False))
        return multiply_adds(run(variables, x).jaxpr)

    shrunk = 1 if macro.stem == "cifar" else 8
    sides = [[-(-n // shrunk), *macro.map_sizes(n)] for n in image_size]
    total = {kind: np.zeros(space.alpha_shape(kind)) for kind in space.types}
    for index, plan in enumerate(macro.plan()):
        kind = space.kind(index, plan.type)
        choices = space.choices(kind)
        before, after = ((sides[0][i], sides[1][i]) for i in (index, index + 1))
        for e, (source, _) in enumerate(space.edges_of(kind)):
            strided = plan.type == "reduce" and source < space.inputs
            stride, size = (2, before) if strided else (1, after)
            total[kind][e] += [
                one(name, plan.channels, stride, size) for name in choices[e]
            ]
    return total


def _count(model: Model, mix, macro: Macro, image_size, in_channels: int):
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    macro.map_sizes(min(size))  # refuses images that are too small
    image = jax.ShapeDtypeStruct((1, *size, in_channels), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    evaluate = jax.make_jaxpr(
        lambda v, x: model.apply(v, mix, x, train=False)[0].logits
    )
    macs = multiply_adds(evaluate(variables, image).jaxpr)
    return {"params": parameters(variables["params"]), "macs": macs}


def multiply_adds(jaxpr: Any) -> int:
    """Multiply-adds of the convolutions and matrix products in a jaxpr."""
    total = 0
    for eqn, repeats in equations(jaxpr):
        if eqn.primitive.name == "conv_general_dilated":
            kernel = eqn.invars[1].aval.shape
            out_axis = eqn.params["dimension_numbers"].rhs_spec[0]
            each = math.prod(kernel) // kernel[out_axis]
        elif eqn.primitive.name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            lhs = eqn.invars[0].aval.shape
            each = math.prod(lhs[axis] for axis in contracted)
        else:
            continue
        total += repeats * math.prod(eqn.outvars[0].aval.shape) * each
    return total


def equations(jaxpr: Any, repeats: int = 1) -> Iterator[tuple[Any, int]]:
    """The equations of a jaxpr and of those inside, with how often each is run."""
    for eqn in jaxpr.eqns:
        yield eqn, repeats
        times = repeats * (eqn.params["length"] if eqn.primitive.name == "scan" else 1)
        for inner in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            if hasattr(inner, "eqns"):
                yield from equations(getattr(inner, "jaxpr", inner), times)
