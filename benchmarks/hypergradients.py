"""Cost, memory and accuracy of every hypergradient estimator.

    python -m benchmarks.hypergradients --json results/hypergradients/measured.json \\
        --figures docs

Cost and memory: a network 784-512-512-10 with tanh, batch 128, float32; arch are a gate
for every hidden unit and a log weight decay for every matrix. Cost is the median of
warm, jitted calls that take turns, in units of one gradient of the training loss in w.
Memory is the plan of XLA without arguments and results. Accuracy: ridge regression with
a log penalty for every feature, whose hypergradient is known. `--figures` draws the
results.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import math
import platform
import re
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.supernet import machine
from nasjax import hypergrad
from nasjax.hypergrad import finite_difference, identity, implicit, unrolled

SIZES, BATCH = (784, 512, 512, 10), 128
PALETTE = ("#E69F00", "#56B4E9", "#0072B2", "#009E73", "#666666", "#CC79A7", "#D55E00")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    parser.add_argument("--figures", type=Path, help="draw into this folder")
    parser.add_argument("--repeats", type=int, default=25)
    arguments = parser.parse_args()
    names = ("jax", "jaxlib", "optax", "nasjax")
    report: dict[str, Any] = {
        "command": "python -m benchmarks.hypergradients --json "
        "results/hypergradients/measured.json --figures docs",
        "note": "other processes may have shared the cores; read ratios of seconds",
        "machine": machine(),
        "versions": {name: version(name) for name in names}
        | {"python": platform.python_version()},
        "costs": costs(arguments.repeats),
        "finite_differences": differences(),
    }
    with jax.enable_x64(True):
        report |= {"accuracy": accuracy(), "toy": toy()}
    for name, row in report["costs"].items():
        print(f"{name:22}", *(f"{k} {v:<8.4g}" for k, v in row.items()))
    for name, losses in report["toy"].items():
        print(f"toy, {name}: loss {losses[-1]:.2g} after {len(losses) - 1} steps")
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.figures:
        draw_accuracy(report, arguments.figures / "hypergradient_accuracy.png")
        draw_toy(report["toy"], arguments.figures / "amended_toy.png")


def gated(sizes: tuple[int, ...], batch: int, dtype: Any = np.float32):
    """The network's logits, their loss, both losses, and (w, arch, two batches)."""

    def logits(w, arch, batch):
        x = batch["x"]
        for kernel, gate in zip(w[:-1], arch["gate"], strict=True):
            x = jnp.tanh(x @ kernel) * jax.nn.sigmoid(gate)
        return x @ w[-1]

    def of_logits(z, batch):
        label = batch["label"]
        return optax.softmax_cross_entropy_with_integer_labels(z, label).mean()

    val = lambda w, arch, batch: of_logits(logits(w, arch, batch), batch)

    def train(w, arch, batch):
        squares = jnp.stack([jnp.sum(kernel**2) for kernel in w])
        return val(w, arch, batch) + jnp.exp(arch["decay"]) @ squares / 2

    draws = np.random.default_rng(0)
    normal = lambda *shape: draws.normal(size=shape)
    w = [normal(i, o) / math.sqrt(i) for i, o in itertools.pairwise(sizes)]
    arch = {"gate": [normal(o) for o in sizes[1:-1]], "decay": np.full(len(w), -6.0)}
    batches = [
        {"x": normal(batch, sizes[0]), "label": draws.integers(0, sizes[-1], batch)}
        for _ in range(2)
    ]
    cast = lambda leaf: jnp.asarray(leaf, dtype if leaf.dtype.kind == "f" else None)
    return logits, of_logits, train, val, jax.tree.map(cast, (w, arch, *batches))


def costs(repeats: int) -> dict[str, dict[str, float]]:
    """Name -> stated and measured cost in gradient evaluations, seconds, MB planned."""
    logits, of_logits, train, val, (w, arch, batch, held_out) = gated(SIZES, BATCH)
    sgd, ggn = optax.sgd(0.1, momentum=0.9), hypergrad.ggn(logits, of_logits)
    cg = hypergrad.cg(10, damping=10.0, tol=0.0)  # damped: all ten steps happen
    neumann = hypergrad.neumann(0.01, 10)

    def level(i):
        def loss(s, arch, batch):
            apart = jax.tree.map(jnp.subtract, s[f"w{i}"], s[f"w{max(i - 1, 0)}"])
            return train(s[f"w{i}"], arch, batch) + optax.tree.norm(apart, squared=True)

        return hypergrad.descend(f"w{i}", loss, sgd)

    def chained(depth):
        end = lambda s, arch, batch: val(s[f"w{depth - 1}"], arch, batch)
        return hypergrad.chain([level(i) for i in range(depth)], end)

    calls: dict[str, Callable] = {
        "gradient": jax.grad(train),
        "first_order": hypergrad.first_order(val),
        "unrolled 1": unrolled(train, val, sgd),
        "unrolled 10": unrolled(train, val, sgd, 10),
        "unrolled 10, remat": unrolled(train, val, sgd, 10, remat=True),
        "unrolled 50": unrolled(train, val, sgd, 50),
        "unrolled 50, remat": unrolled(train, val, sgd, 50, remat=True),
        "identity": implicit(train, val, identity(0.1)),
        "amended": implicit(train, val, hypergrad.amended(0.1)),
        "neumann 10": implicit(train, val, neumann),
        "neumann 10, ggn": implicit(train, val, neumann, ggn),
        "cg 10": implicit(train, val, cg),
        "cg 10, ggn": implicit(train, val, cg, ggn),
        "differences, unrolled": finite_difference.unrolled(train, val, sgd),
        "differences, amended": finite_difference.amended(train, val, 0.1),
        "chain 2": chained(2),
        "chain 3": chained(3),
    }
    rows, run = {}, {}
    for name, call in calls.items():
        count = int(re.search(r"\d+|$", name)[0] or 1)
        solution, steps = w, batch
        if name.startswith("unrolled") and count > 1:
            steps = jax.tree.map(lambda leaf: jnp.stack([leaf] * count), batch)
        if name.startswith("chain"):
            solution = {f"w{i}": w for i in range(count)}
        at = (solution, arch, steps, held_out)[: 3 if name == "gradient" else 4]
        compiled = jax.jit(call).lower(*at).compile()
        run[name] = functools.partial(compiled, *at)
        found = getattr(jax.block_until_ready(run[name]()), "report", {})
        if found.get("cg_steps", 10) < 10:
            raise RuntimeError(f"{name} stopped early; raise its damping.")
        planned = compiled.memory_analysis().temp_size_in_bytes / 1e6
        rows[name] = {"stated": getattr(call, "cost", 1), "planned_mb": planned}
    seconds: dict[str, list[float]] = {name: [] for name in run}
    for _, name in itertools.product(range(repeats), run):
        start = time.perf_counter()
        jax.block_until_ready(run[name]())
        seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(runs) for name, runs in seconds.items()}
    for name, row in rows.items():
        row["seconds"] = medians[name]
        row["measured"] = medians[name] / medians["gradient"]
    return rows


def accuracy(features: int = 40, examples: int = 120) -> dict[str, list]:
    """Name -> for each length: [stated gradient evaluations, relative error, cosine]."""
    draws = np.random.default_rng(0)
    scale = np.geomspace(1, 0.05, features)
    x, x_val = (draws.normal(size=(examples, features)) * scale for _ in range(2))
    truth = draws.normal(size=features)
    y, y_val = (z @ truth + draws.normal(size=examples) for z in (x, x_val))
    alpha = np.full(features, -5.0)
    val = lambda w, a, batch: jnp.mean((x_val @ w - y_val) ** 2) / 2
    train = lambda w, a, batch: jnp.mean((x @ w - y) ** 2) / 2 + jnp.exp(a) @ w**2 / 2

    hessian = x.T @ x / examples + np.diag(np.exp(alpha))
    best = np.linalg.solve(hessian, x.T @ y / examples)
    slope = x_val.T @ (x_val @ best - y_val) / examples
    exact = -np.exp(alpha) * best * np.linalg.solve(hessian, slope)
    lr = 1 / np.linalg.eigvalsh(hessian)[-1]

    def point(estimator, w=best, steps=1):
        batch = jnp.zeros(steps) if steps > 1 else None
        grad = np.asarray(jax.jit(estimator)(w, alpha, batch, None).grad)
        size, length = np.linalg.norm(exact), np.linalg.norm(grad)
        error = float(np.linalg.norm(grad - exact) / size)
        return [estimator.cost, error, float(grad @ exact / (size * length or 1))]

    sgd, counts = optax.sgd(lr), [2**i for i in range(12)]
    steps = lambda k: unrolled(train, val, sgd, k)
    series = lambda k: implicit(train, val, hypergrad.neumann(lr, k))
    krylov = lambda k: implicit(train, val, hypergrad.cg(k, tol=0.0))
    eta = lr**2  # the largest that overshoots H^-1 along no eigenvector
    twins = (
        finite_difference.unrolled(train, val, sgd),
        finite_difference.amended(train, val, eta),
    )
    return {
        "unrolled from w = 0": [point(steps(k), 0 * best, k) for k in counts],
        "unrolled from w*": [point(steps(k), steps=k) for k in counts],
        "neumann": [point(series(k)) for k in counts],
        "cg": [point(krylov(k)) for k in (*range(1, 6), *range(8, 49, 4))],
        "first_order": [point(hypergrad.first_order(val))],
        "identity": [point(implicit(train, val, identity(lr)))],
        "amended": [point(implicit(train, val, hypergrad.amended(eta)))],
        "differences": [point(twin) for twin in twins],
    }


def differences() -> dict[str, list]:
    """Precision -> [epsilon, error of eq. 8's term relative to the exact term]."""
    found: dict[str, list] = {}
    for dtype in ("float64", "float32"):
        with jax.enable_x64(dtype == "float64"):
            _, _, train, val, at = gated((64, 32, 32, 10), 64, np.dtype(dtype))
            w, arch, batch, held_out = at
            flat = lambda grad: jax.flatten_util.ravel_pytree(grad)[0]
            after = jax.tree.map(
                lambda p, g: p - 0.1 * g, w, jax.grad(train)(w, arch, batch)
            )
            direct = flat(jax.grad(val, 1)(after, arch, held_out))
            sgd = optax.sgd(0.1)
            exact = flat(unrolled(train, val, sgd)(*at).grad)
            for epsilon in np.geomspace(1, 1e-7, 15):
                twin = finite_difference.unrolled(train, val, sgd, epsilon)
                off = jnp.linalg.norm(flat(jax.jit(twin)(*at).grad) - exact)
                error = float(off / jnp.linalg.norm(exact - direct))
                found.setdefault(dtype, []).append([epsilon, error])
    return found


def toy(steps: int = 400) -> dict[str, list[float]]:
    """(w x - a)^2 of Amended-DARTS, A.2: losses over joint steps from w = 0.3, a = 1."""
    loss = lambda w, a, x: (w * x - a) ** 2
    amended = lambda eta: implicit(loss, loss, hypergrad.amended(eta))

    def run(estimator):
        def step(carry, _):
            w, a = carry
            move = estimator(w, a, 1.0, 2.0).grad
            carry = w - 0.1 * jax.grad(loss)(w, a, 1.0), a - 0.05 * move
            return carry, loss(*carry, 2.0)

        start = jnp.float64(0.3), jnp.float64(1.0)
        losses = jax.lax.scan(step, start, length=steps)[1]
        return [float(loss(*start, 2.0)), *losses.tolist()]

    return {
        "no amending (first_order)": run(hypergrad.first_order(loss)),
        "amended, η = 0.1": run(amended(0.1)),
        "amended, η = 0.25": run(amended(0.25)),
        "exact (cg): the same line": run(implicit(loss, loss, hypergrad.cg(1))),
    }


def draw_accuracy(report: dict, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(4, 3))
    marks = ("-", "-", "-", "-", "s", "o", "D", "x")
    rows = zip(report["accuracy"].items(), marks, (*PALETTE, "black"), strict=True)
    for (name, points), mark, colour in rows:
        cost, error, _ = zip(*points, strict=True)
        left.loglog(cost, error, mark, color=colour, label=name, markersize=7)
    left.set(
        title="Ridge regression with 40 log penalties, float64",
        xlabel="gradient evaluations, as stated",
        ylabel="relative error of the hypergradient",
    )
    left.legend(frameon=False, loc="lower left")
    labels = {"float64": (2e-7, 4e-8, PALETTE[2]), "float32": (2e-5, 0.2, PALETTE[6])}
    for name, (x, y, colour) in labels.items():
        points = report["finite_differences"][name]
        right.loglog(*zip(*points, strict=True), color=colour)
        right.text(x, y, name, color=colour)
    default = finite_difference.EPSILON
    right.axvline(default, color="#666666", linestyle=":")
    right.text(0.8 * default, 2, "the papers' epsilon", color="#666666", ha="right")
    right.set(
        title="Finite differences of one unrolled step",
        xlabel="epsilon",
        ylabel="relative error of the second-order term",
    )
    _save(figure, (left, right), file)


def draw_toy(toy: dict, file: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.4), layout="constrained")
    axis = figure.subplots()
    styles = zip(("#666666", PALETTE[6], PALETTE[2], "black"), "---:", strict=True)
    for (name, losses), (colour, line) in zip(toy.items(), styles, strict=True):
        axis.semilogy(losses, line, color=colour, label=name, linewidth=2)
        axis.text(len(losses), losses[-1], f" {losses[-1]:.1e}", color=colour)
    axis.set(xlabel="joint steps of w and a", ylabel="validation loss", xlim=(0, 460))
    axis.legend(frameon=False)
    _save(figure, (axis,), file)


def _save(figure, axes, file: Path) -> None:
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=130)


if __name__ == "__main__":
    main()
