"""Parameters and multiply-adds, counted on the parts of a network.

The parameters of the initialised network are counted, without alpha. The multiply-adds
are counted on the traced program in its "conv" spelling: the convolutions and matrix
products for one image in evaluation mode.

The cost of a count is the cost of tracing. So a network is traced with `none` for every
operation, once for all genotypes, and an operation or an edge is traced once for each
of its sizes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from nasjax.core.errors import UserError
from nasjax.nets.edges import EdgeFactory, Mixed
from nasjax.nets.layers import Style
from nasjax.nets.network import Model, genotype_network, supernet
from nasjax.nets.operations import NO_DRAWS, operation
from nasjax.nets.own import check_operations
from nasjax.spaces import CellSpace, Macro
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.load import space_of
from nasjax.spaces.mix import Weights

_FIXED = Style(False, "conv")


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
    """The {"params", "macs"} of a genotype's network.

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
    space = space_of(genotype)
    macro = Macro.of(space, channels, cells, stem)
    size = _pair(image_size)
    if auxiliary and macro.map_sizes(min(size))[2 * cells // 3] < 2:
        raise UserError(
            f"Images of {min(size)} pixels leave no 2x2 map for an auxiliary head; use "
            "larger images, or count without --auxiliary."
        )
    names = {name for own in genotype.cells.values() for name, _ in own}
    check_operations(names, macro.plan(), _FIXED)
    empty = {kind: (("none", 0),) * len(own) for kind, own in genotype.cells.items()}
    bare = dataclasses.replace(genotype, cells=empty)
    found = dict(_rest(space, bare, macro, classes, auxiliary, size, in_channels))
    own_types = space._replace(types=tuple(genotype.cells))
    for kind, place in _places(own_types, macro, size):
        for name, source in genotype.cells[kind]:
            _add(found, _operation(operation(name), *place(source), _FIXED))
    return found


def count_supernet(
    space: CellSpace,
    channels: int,
    cells: int,
    classes: int,
    image_size: int | tuple[int, int],
    in_channels: int = 3,
    stem: str = "cifar",
    edge: EdgeFactory = Mixed,
) -> dict[str, int]:
    """The {"params", "macs"} of a supernet with edges made by `edge`.

    On ImageNet its stem has 3 C channels (PC-DARTS).
    """
    macro = Macro.of(space, channels, cells, stem, search=True)
    size = _pair(image_size)
    bare = space._replace(primitives=("none",), lists=None)
    found = dict(_rest(bare, None, macro, classes, False, size, in_channels))
    style = Style(True, "conv", pool_norm=space.pool_norm)
    check_operations(space.primitives, macro.plan(), style)
    for kind, place in _places(space, macro, size):
        for (source, _), names in zip(
            space.edges_of(kind), space.choices(kind), strict=True
        ):
            channels, stride, sides = place(source)
            made = edge(names, channels, stride, style)
            operations = tuple(operation(name) for name in names)
            _add(found, _edge(made, operations, channels, sides))
    return found


def choice_macs(
    space: CellSpace, macro: Macro, image_size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """The multiply-adds of every choice in a genotype's network, cell type -> [E, O].

    They are summed over the cells of the type. The other multiply-adds in
    `count_genotype` (stem, preprocessing, classifier) are the same for all genotypes.
    """
    total = {kind: np.zeros(space.alpha_shape(kind)) for kind in space.types}
    for kind, place in _places(space, macro, image_size):
        choices = space.choices(kind)
        for e, (source, _) in enumerate(space.edges_of(kind)):
            made = [operation(name) for name in choices[e]]
            counts = [_operation(make, *place(source), _FIXED) for make in made]
            total[kind][e] += [count["macs"] for count in counts]
    return total


def traced(
    model: Model, mix, macro: Macro, size: tuple[int, int], in_channels: int
) -> dict[str, int]:
    """The {"params", "macs"} of a traced model."""
    macro.map_sizes(min(size))  # raises for images that are too small
    image = jax.ShapeDtypeStruct((1, *size, in_channels), jnp.float32)
    variables = jax.eval_shape(model.init, jax.random.key(0), image)
    evaluate = jax.make_jaxpr(
        lambda v, x: model.apply(v, mix, x, train=False)[0].logits
    )
    macs = multiply_adds(evaluate(variables, image).jaxpr)
    return {"params": parameters(variables["params"]), "macs": macs}


@functools.cache
def _rest(
    space: CellSpace,
    genotype: Genotype | None,
    macro: Macro,
    classes: int,
    auxiliary: bool,
    size: tuple[int, int],
    in_channels: int,
) -> dict[str, int]:
    """The counts of `traced` for a genotype of the space, or for its supernet."""
    if genotype is None:
        mix = {k: Weights(jnp.zeros(space.alpha_shape(k))) for k in space.types}
        model = supernet(space, macro, classes, "conv")
    else:
        mix = {}
        model = genotype_network(genotype, macro, classes, auxiliary, "conv")
    return traced(model, mix, macro, size, in_channels)


def _places(
    space: CellSpace, macro: Macro, image_size: tuple[int, int]
) -> Iterator[tuple[str, Callable[[int], tuple[int, int, tuple[int, int]]]]]:
    """For every cell its type and a function: source of an edge -> channels, stride,
    and (height, width) of the input map."""
    shrunk = 1 if macro.stem == "cifar" else 8
    sides = [[-(-n // shrunk), *macro.map_sizes(n)] for n in image_size]
    for index, plan in enumerate(macro.plan()):
        before, after = ((sides[0][i], sides[1][i]) for i in (index, index + 1))

        def place(source, plan=plan, before=before, after=after):
            strided = plan.type == "reduce" and source < space.inputs
            stride, size = (2, before) if strided else (1, after)
            return plan.channels, stride, size

        yield space.kind(index, plan.type), place


@functools.cache
def _operation(
    make: Callable, channels: int, stride: int, size: tuple[int, int], style: Style
) -> dict[str, int]:
    """The {"params", "macs"} of an operation on one map of (height, width) `size`."""
    return _alone(make(channels, stride, style), channels, size, False)


@functools.cache
def _edge(
    edge: nn.Module, operations: tuple, channels: int, size: tuple[int, int]
) -> dict[str, int]:
    """The {"params", "macs"} of an edge; operations: factories of its primitives."""
    weights = Weights(jnp.ones(len(operations)))
    return _alone(edge, channels, size, weights, False, NO_DRAWS)


def _alone(
    module: nn.Module, channels: int, size: tuple[int, int], *inputs: Any
) -> dict[str, int]:
    """The {"params", "macs"} of a module called with a map and the inputs."""
    run = functools.partial(module.init_with_output, jax.random.key(0))
    x = jax.ShapeDtypeStruct((size[0], channels, size[1], 1), jnp.float32)
    program, (_, variables) = jax.make_jaxpr(
        lambda x: run(x, *inputs), return_shape=True
    )(x)
    params = parameters(variables.get("params", {}))
    return {"params": params, "macs": multiply_adds(program.jaxpr)}


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        total[name] += count


def _pair(image_size: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(image_size, int):
        return image_size, image_size
    height, width = image_size
    return height, width


def multiply_adds(jaxpr: Any) -> int:
    """The multiply-adds of the convolutions and matrix products in a jaxpr."""
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
    """The equations of a jaxpr and of its inner jaxprs, each with its run count."""
    for eqn in jaxpr.eqns:
        yield eqn, repeats
        times = repeats * (eqn.params["length"] if eqn.primitive.name == "scan" else 1)
        for inner in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            if hasattr(inner, "eqns"):
                yield from equations(getattr(inner, "jaxpr", inner), times)
