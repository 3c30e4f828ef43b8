"""Stem, cells, heads: one network for supernets and for genotypes.

`supernet` and `genotype_network` return a `Model`: two pure functions. Consecutive
cells with the same plan and body are scanned. Compile time therefore grows with the
number of distinct bodies and not with the number of cells.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from nasjax.core.errors import UserError
from nasjax.core.keys import derive
from nasjax.nets import lowering
from nasjax.nets.cells import FixedCell, MixedCell, runs
from nasjax.nets.edges import EdgeFactory, Mixed, edge_function
from nasjax.nets.heads import AuxiliaryHead
from nasjax.nets.layers import (
    BatchNorm,
    Conv,
    Linear,
    ResidualBlock,
    Style,
    drawn,
    wide,
)
from nasjax.nets.operations import NO_DRAWS, Draws
from nasjax.nets.own import check_operations
from nasjax.spaces import CellPlan, CellSpace, Edge, Macro
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.load import space_of
from nasjax.spaces.mix import Mix, Weights

CellFactory = Callable[..., nn.Module]  # (Cell, style, name)


class Output(NamedTuple):
    """The outputs of a network.

    Attributes:
      logits: logits [B, classes].
      auxiliary: logits of the auxiliary head [B, classes], or None without that head.
    """

    logits: Array
    auxiliary: Array | None


class Model(NamedTuple):
    """A network as two pure functions.

    Attributes:
      init: (key, images [B, H, W, C]) -> variables {"params", "batch_stats"}.
      apply: (variables, mix, images, *, train, key=None, drop_path=0.) -> (Output,
        batch_stats). mix: cell type -> mixing weights, `Weights` (a genotype's network
        ignores it: pass {}). key: typed keys [B], one per example, for drop path and
        noise operations; without keys there is no drop path and noise is 0. drop_path:
        probability in training, may be traced. If train is False the given batch
        statistics are returned. Images or mix of a wrong shape raise an AssertionError.
      auxiliary: True if the training output has an auxiliary head.
    """

    init: Callable
    apply: Callable
    auxiliary: bool


def supernet(
    space: CellSpace,
    macro: Macro,
    classes: int,
    spelling: str = "auto",
    axis_name: str | None = None,
    remat: str = "auto",
    dtype: str | None = None,
    auxiliary: bool = False,
    edge: EdgeFactory = Mixed,
) -> Model:
    """The supernet of a space: every edge holds every primitive.

    Args:
      space: the cell space.
      macro: the arrangement of the cells.
      classes: number of classes.
      spelling: see `nasjax.nets.lowering`.
      axis_name: mapped axis over which batch norm averages its moments.
      remat: "none", "edge" or "cell": the unit that is computed again for its gradient
        instead of kept in memory. "auto" is "edge" for the spelling "shift", else
        "none". With "shift", "edge" is also the fastest: computing a map again takes
        less time than reading it back.
      dtype: dtype of maps, see `Style`.
      auxiliary: True if the training output has an auxiliary head.
      edge: factory of the edges, see `nasjax.nets.edges`. Edges are initialised with
        mixing weights that have `ops` only.

    Raises:
      UserError: an option is unknown, or an operation does not turn maps into maps.
    """

    function = functools.cache(edge_function)

    def cell(made: Cell, style: Style, name: str | None) -> nn.Module:
        layer = _layer(MixedCell, style)
        return layer(space, made.plan, made.body, style, function, edge, name=name)

    cells = []
    for index, plan in enumerate(macro.plan()):
        kind = space.kind(index, plan.type)
        body = runs(space, kind, plan.type == "reduce")
        cells.append(Cell(plan, kind, body, space.edges_of(kind)))
    style = Style.of(True, spelling, axis_name, remat, dtype, space.pool_norm)
    check_operations(space.primitives, macro.plan(), style)
    mix = {k: Weights(jnp.zeros(space.alpha_shape(k))) for k in space.types}
    network = Network(macro, classes, tuple(cells), cell, style, auxiliary)
    most = max(len(each.edges or ()) for each in cells)
    factory = getattr(edge, "func", edge)  # of a functools.partial
    random = "noise" in space.primitives or getattr(factory, "random", False)
    return _model(network, most, random, mix)


def genotype_network(
    genotype: Genotype,
    macro: Macro,
    classes: int,
    auxiliary: bool = False,
    spelling: str = "auto",
    axis_name: str | None = None,
    remat: str = "auto",
    dtype: str | None = None,
) -> Model:
    """The network of a genotype, for retraining and inference.

    The arguments are those of `supernet`. Here `remat` "auto" and "edge" are the same
    as "none".

    Raises:
      UserError: the genotype has an architecture for each cell, and the number of cells
        is another one; an operation does not turn maps into maps.
    """
    space = space_of(genotype)

    def cell(made: Cell, style: Style, name: str | None) -> nn.Module:
        return _layer(FixedCell, style)(made.body, space, made.plan, style, name=name)

    own = set(genotype.cells) - set(space.types)
    space = space._replace(types=tuple(genotype.cells))
    if own and len(own) != macro.cells:
        raise UserError(
            f"The genotype has an architecture for each of {len(own)} cells, but the "
            f"network would have {macro.cells}; give a network of {len(own)} cells."
        )
    cells = []
    for index, plan in enumerate(macro.plan()):
        kind = space.kind(index, plan.type)
        cells.append(Cell(plan, kind, tuple(genotype.cells[kind]), None))
    style = Style.of(False, spelling, axis_name, remat, dtype)
    network = Network(macro, classes, tuple(cells), cell, style, auxiliary)
    pairs = [pair for own in genotype.cells.values() for pair in own]
    check_operations(dict(pairs), macro.plan(), style)
    most = max(map(len, genotype.cells.values()))
    return _model(network, most, "noise" in dict(pairs), {})


def _layer(cell: Any, style: Style) -> Any:
    """The cell class, computed again for its gradient if `style.remat` is "cell"."""
    return nn.remat(cell, static_argnums=(6,)) if style.remat == "cell" else cell


def _model(network: Network, edges: int, noise: bool, any_mix: Mix) -> Model:
    def init(key: Array, images: Array):
        own, drawing = jax.random.split(key)
        return drawn(network.init(own, any_mix, images, NO_DRAWS, True), drawing)

    def apply(variables, mix: Mix, images, *, train, key=None, drop_path=0.0):
        chex.assert_rank(images, 4)
        for kind, own in any_mix.items():
            chex.assert_shape(mix[kind].ops, own.ops.shape)
        shape = (network.macro.cells, edges)
        keep = seeds = None
        if train and key is not None and not _is_zero(drop_path):
            chance = jax.vmap(lambda k: jax.random.uniform(k, shape))(key)
            keep = (chance >= drop_path) / (1 - drop_path)
            keep = jnp.moveaxis(keep, 0, -1)  # [cells, edges, B]
        if noise and key is not None:
            draw = lambda k: jax.random.bits(derive(k, "noise"), shape)
            seeds = jax.vmap(draw, out_axes=-1)(key)
        mutable = ["batch_stats"] if train else False
        draws = Draws(keep, seeds)
        out = network.apply(variables, mix, images, draws, train, mutable=mutable)
        if not train:
            return out, variables["batch_stats"]
        return out[0], out[1]["batch_stats"]

    return Model(init, apply, network.auxiliary)


def _is_zero(rate) -> bool:
    return isinstance(rate, int | float) and rate == 0


class Cell(NamedTuple):
    """One cell of the stack. Consecutive cells with the same plan and body are scanned.

    Attributes:
      plan: the size and place of the cell.
      kind: the cell type, which selects the mixing weights.
      body: the pairs of a genotype's cell, or the runs of a supernet's cell.
      edges: the edges of a supernet's cell; None for a genotype's cell.
    """

    plan: CellPlan
    kind: str
    body: tuple
    edges: tuple[Edge, ...] | None


class Network(nn.Module):
    """Stem, stack of cells, global average pool, linear classifier."""

    macro: Macro
    classes: int
    cells: tuple[Cell, ...]
    cell: CellFactory
    style: Style
    auxiliary: bool

    @nn.compact
    def __call__(self, mix: Mix, images: Array, draws, train: bool) -> Output:
        x = lowering.to_map(images)
        s0, s1 = self._stem(x.astype(self.style.dtype or x.dtype), train)
        auxiliary, index = None, 0
        blocks, head_at = self.macro.reduction == "block", 2 * self.macro.cells // 3
        # Scanned together; a head reads the output of the last cell of a group.
        alike = lambda at: (at[1].plan, at[1].body, self.auxiliary and at[0] > head_at)
        for _, cells in itertools.groupby(enumerate(self.cells), alike):
            group = [cell for _, cell in cells]
            end = index + len(group)
            own = jax.tree.map(lambda leaf, a=index, b=end: leaf[a:b], draws)
            if blocks and index in self.macro.reductions:
                width, name = group[0].plan.channels, f"reduction_{index}"
                s1 = ResidualBlock(width, self.style, name=name)(s1, train)
            s0 = s1 if blocks else s0
            s0, s1 = self._cells(group, index, s0, s1, mix, own, train)
            index = end
            if self.auxiliary and train and index - 1 == head_at:
                head = AuxiliaryHead(self.classes, self.macro.stem, self.style)
                auxiliary = head(s1, train)
        if blocks:
            s1 = nn.relu(BatchNorm(self.style, affine=True, name="last_bn")(s1, train))
        features = wide(s1).mean((0, 2)).T
        return Output(Linear(self.classes, name="classifier")(features), auxiliary)

    def _cells(self, group: list[Cell], index: int, s0, s1, mix: Mix, draws, train):
        last = index + len(group) - 1
        name = f"cell_{index}" if index == last else f"cells_{index}_{last}"
        cell = self.cell(group[0], self.style, name)
        weights = edges = None
        if group[0].edges is not None:
            stack = lambda *each: jnp.stack(each)
            weights = jax.tree.map(stack, *(mix[each.kind] for each in group))
            edges = jnp.array([each.edges for each in group], jnp.int32)
        own = weights, edges, draws  # with one row for each cell
        if len(group) == 1:
            return s1, cell(s0, s1, *jax.tree.map(lambda leaf: leaf[0], own), train)

        def body(cell, states, own):
            return (states[1], cell(*states, *own, train)), None

        scan = nn.scan(
            body,
            variable_axes={"params": 0, "batch_stats": 0},
            split_rngs={"params": True},
            check_constancy_invariants=False,  # traces the body once more
            length=len(group),
        )
        return scan(cell, (s0, s1), own)[0]

    def _stem(self, x: Array, train: bool) -> tuple[Array, Array]:
        style, width = self.style, self.macro.stem_width

        def conv(x, features, stride, name):
            x = Conv(features, style, 3, stride, 1, name=f"{name}_conv")(x)
            return BatchNorm(style, affine=True, name=f"{name}_bn")(x, train)

        if self.macro.stem == "cifar":
            x = conv(x, width, 1, "stem")
            return x, x
        x = nn.relu(conv(x, width // 2, 2, "stem0_a"))
        s0 = conv(x, width, 2, "stem0_b")
        return s0, conv(nn.relu(s0), width, 2, "stem1")
