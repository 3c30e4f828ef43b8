"""A network of a few dozen weights with the interface of a supernet, `nets.Model`.

The network has every feature that a search uses: both cell types, every edge and
operation of a space, batch norm with running statistics and moments averaged over the
mapped axis, drop path by each example's key, an auxiliary head. A test on the toy covers
the search, not the convolutions, and compiles in a fraction of a second.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from nasjax.core.keys import derive
from nasjax.nets import Model
from nasjax.nets.network import Output
from nasjax.spaces import CellSpace

WIDTH, MOMENTUM = 4, 0.1


def toy(
    space: CellSpace, classes: int, axis: str | None = None, auxiliary: bool = False
) -> Model:
    """The network: each cell is h + sum_eo mix[e, o] f_o(h; w_e) of the normalised h.

    f_0 is h, f_1 = tanh(h w_e), f_2 = sin(h w_e), f_3 = cos(h w_e); all further
    operations are relu(h w_e).
    """

    def init(key, images):

        def draw(name, *shape):
            return jax.random.normal(derive(key, name), shape) / shape[-2] ** 0.5

        params = {"stem": draw("stem", images[0].size, WIDTH)}
        for kind in space.types:
            edges = space.alpha_shape(kind)[0]
            params[kind] = draw(kind, edges, WIDTH, WIDTH)
        params["head"] = draw("head", WIDTH, classes)
        if auxiliary:
            params["auxiliary"] = draw("auxiliary", WIDTH, classes)
        stats = {
            kind: {"mean": jnp.zeros(WIDTH), "var": jnp.ones(WIDTH)}
            for kind in space.types
        }
        return {"params": params, "batch_stats": stats}

    def apply(variables, mix, images, *, train, key=None, drop_path=0.0):
        params, stats = variables["params"], dict(variables["batch_stats"])
        h = images.reshape(len(images), -1) @ params["stem"]
        kept = jnp.ones((len(h), 1))
        if key is not None and train:
            draw = jax.vmap(lambda own: jax.random.uniform(derive(own, "path")))
            kept = (draw(key)[:, None] >= drop_path) / (1 - drop_path)
        for kind in space.types:
            h, stats[kind] = _normalised(h, stats[kind], train, axis)
            moved = jnp.einsum("bi,eij->ebj", h, params[kind])
            curves = (jnp.tanh, jnp.sin, jnp.cos, jax.nn.relu)
            results = [jnp.broadcast_to(h, moved.shape)]
            own = mix[kind]
            for index in range(1, own.ops.shape[1]):
                results.append(curves[min(index, len(curves)) - 1](moved))
            ops = own.ops if own.edges is None else own.ops * own.edges[:, None]
            mixed = jnp.einsum("eo,oebj->bj", ops, jnp.stack(results))
            h = h + kept * mixed
        second = h @ params["auxiliary"] if auxiliary and train else None
        return Output(h @ params["head"], second), stats

    return Model(init, apply, auxiliary)


def _normalised(h, stats, train: bool, axis: str | None):
    """Batch norm without affine parameters; running statistics follow PyTorch."""
    if not train:
        return (h - stats["mean"][None]) * lax.rsqrt(stats["var"][None] + 1e-5), stats
    average = lambda x: x if axis is None else lax.pmean(x, axis)
    mean = average(h.mean(0, keepdims=True))
    var = average(jnp.square(h - mean).mean(0, keepdims=True))
    new = lax.stop_gradient({"mean": mean[0], "var": var[0]})
    stats = jax.tree.map(lambda old, now: old + MOMENTUM * (now - old), stats, new)
    return (h - mean) * lax.rsqrt(var + 1e-5), stats
