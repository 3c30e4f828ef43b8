# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Hypergradients for your own losses
#
# [![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/nasjax/nasjax/blob/main/notebooks/hypergradients.ipynb)
#
# The numbers `alpha` are parameters of a training loss; the weights `w*(alpha)` minimise this loss; a validation loss judges the weights. `nasjax.hypergrad` computes the derivative of the validation loss with respect to `alpha`. This notebook has two toy problems, two weight decays, the weights of mislabelled examples, and `check`, which tests whether a derivative is right. It takes about a minute on two CPU cores and downloads nothing.

# %%
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

google = importlib.util.find_spec("google")
colab = google and importlib.util.find_spec("google.colab")
if colab and not importlib.util.find_spec("nasjax"):
    clone = ["git", "clone", "--depth=1", "https://github.com/nasjax/nasjax"]
    subprocess.run(clone, check=True)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "./nasjax"]
    subprocess.run(install, check=True)
    os.chdir("nasjax/notebooks")

root = Path.cwd().parent if Path.cwd().name == "notebooks" else Path.cwd()
sys.path.insert(0, str(root))

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

from nasjax import hypergrad

jax.config.update("jax_enable_x64", True)  # optima and checks to many digits
quick = bool(os.environ.get("NASJAX_QUICK"))  # smaller loops, for tests

# %% [markdown]
# ## A toy problem with a known minimum
#
# The DARTS paper has the problem `L_train = (w - a)^2`, `L_val = a w - 2 a + 1`. The optimum is `w*(a) = a`, so alpha should reach the minimum of `a^2 - 2 a + 1`, which is at 1. A loss is a function `(w, alpha, batch) -> scalar`; these losses need no batch.

# %%
train = lambda w, a, batch: (w - a) ** 2
val = lambda w, a, batch: a * w - 2 * a + 1

estimators = {
    "first order": hypergrad.first_order(val),
    "unrolled, one step": hypergrad.unrolled(train, val, optax.sgd(0.1)),
    "implicit": hypergrad.implicit(train, val, hypergrad.cg(1)),
}
ends = {}
for name, estimator in estimators.items():

    def joint(carry, _, estimator=estimator):
        w, a = carry
        grad = estimator(w, a, None, None).grad
        return (w - 0.1 * jax.grad(train)(w, a, None), a - 0.05 * grad), a

    start = jnp.float64(-2.0), jnp.float64(2.0)
    (_, a), path = jax.lax.scan(joint, start, length=400)
    ends[name] = float(a)
    plt.plot(path, label=name)
plt.axhline(1, color="black", linestyle=":")
plt.xlabel("joint step")
plt.ylabel("alpha")
plt.legend(frameon=False)
plt.show()
print("DARTS toy, alpha ends at", {k: round(v, 3) for k, v in ends.items()})

# %% [markdown]
# First order treats `w` as a constant and converges to 2. One unrolled step of rate 0.1 covers a fifth of the dependence of `w*` on alpha and converges to a point between 1 and 2. The implicit hypergradient is exact here.
#
# ## A toy problem where first order diverges
#
# The Amended-DARTS paper has the problem `L = (w x - a)^2`, trained at x = 1 and validated at x = 2. `docs/hypergradients.md` solves it by hand: the amended estimate has the right sign only for eta above 1/8.

# %%
loss = lambda w, a, x: (w * x - a) ** 2
estimators = {
    "first order": hypergrad.first_order(loss),
    "amended, eta = 0.1": hypergrad.implicit(loss, loss, hypergrad.amended(0.1)),
    "amended, eta = 0.25": hypergrad.implicit(loss, loss, hypergrad.amended(0.25)),
}
for name, estimator in estimators.items():

    def joint(carry, _, estimator=estimator):
        w, a = carry
        grad = estimator(w, a, 1.0, 2.0).grad
        carry = w - 0.1 * jax.grad(loss)(w, a, 1.0), a - 0.05 * grad
        return carry, loss(*carry, 2.0)

    start = jnp.float64(0.3), jnp.float64(1.0)
    _, losses = jax.lax.scan(joint, start, length=400)
    plt.semilogy(losses, label=name)
    print(f"Amended toy, {name}: loss {losses[-1]:.1e}")
plt.xlabel("joint step")
plt.ylabel("validation loss")
plt.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Two weight decays
#
# The data are 150 digits for training, 350 digits for tuning, and the rest for testing. The model is linear in the pixels and in 128 random features of the pixels. Each of the two blocks of weights has a separate weight decay, `exp(alpha)`. The training loss is strictly convex, so `w*(alpha)` is unique, and Newton's method finds it.

# %%
digits = load_digits()
draws = np.random.default_rng(0)
order = draws.permutation(len(digits.data))
pixels = digits.data[order] / 16
random = np.tanh(pixels @ draws.normal(size=(64, 128)) / 2)
everything = {"pixels": pixels, "random": random, "label": digits.target[order]}
part = lambda i, j: {k: jnp.asarray(v[i:j]) for k, v in everything.items()}
training, tuning, testing = part(0, 150), part(150, 500), part(500, None)


def logits(w, batch):
    return batch["pixels"] @ w["pixels"] + batch["random"] @ w["random"]


def each(w, batch):
    labels = batch["label"]
    return optax.softmax_cross_entropy_with_integer_labels(logits(w, batch), labels)


def val_loss(w, alpha, batch):
    return each(w, batch).mean()


def train_loss(w, alpha, batch):
    decay = sum(jnp.exp(alpha[k]) * jnp.sum(w[k] ** 2) / 2 for k in w)
    return each(w, batch).mean() + decay


def accuracy(w, batch):
    return float(jnp.mean(jnp.argmax(logits(w, batch), 1) == batch["label"]))


def newton(train_loss, steps, w, alpha, batch):
    """w*(alpha): Newton steps, their linear systems by conjugate gradients."""

    def step(w, _):
        slope = jax.grad(train_loss)(w, alpha, batch)
        product = lambda v: hypergrad.hvp(train_loss, w, alpha, batch, v)
        move = hypergrad.cg(150, tol=1e-10)(product, slope)
        return jax.tree.map(jnp.subtract, w, move), None

    return jax.lax.scan(step, w, length=steps)[0]


zero = {"pixels": jnp.zeros((64, 10)), "random": jnp.zeros((128, 10))}

# %% [markdown]
# The usual method is a grid search: 81 complete trainings (9 in a quick run).

# %%
grid = jnp.linspace(-11.0, -1.0, 3 if quick else 9)


def at(p, r):
    alpha = {"pixels": p, "random": r}
    return val_loss(newton(train_loss, 8, zero, alpha, training), alpha, tuning)


rows = jax.vmap(jax.vmap(at, (None, 0)), (0, None))
table = np.asarray(jax.jit(rows)(grid, grid))
print(f"grid: {table.size} trainings, best validation loss {table.min():.4f}")

# %% [markdown]
# With a hypergradient the weight decays are trained, too, from the corner where both are too large. The weights are not trained from scratch: two Newton steps follow each step of alpha. The cell compares three estimates of the same derivative: conjugate gradients, a Neumann series, and 50 unrolled steps of gradient descent.

# %%
terms, rate = 50, 0.2  # converges where the rate is below 2 / |H|
estimators = {
    "implicit, cg(50)": hypergrad.implicit(train_loss, val_loss, hypergrad.cg(50)),
    f"implicit, neumann({terms})": hypergrad.implicit(
        train_loss, val_loss, hypergrad.neumann(rate, terms)
    ),
    f"unrolled, {terms} steps": hypergrad.unrolled(
        train_loss, val_loss, optax.sgd(rate), terms
    ),
}
repeated = jax.tree.map(lambda leaf: jnp.stack([leaf] * terms), training)
adam = optax.adam(0.5)
paths = {}
for name, estimator in estimators.items():
    batches = repeated if "unrolled" in name else training

    @jax.jit
    def outer(w, alpha, state, estimator=estimator, batches=batches):
        w = newton(train_loss, 2, w, alpha, training)
        grad = estimator(w, alpha, batches, tuning).grad
        updates, state = adam.update(grad, state)
        value = val_loss(w, alpha, tuning)
        return w, optax.apply_updates(alpha, updates), state, value

    alpha = {"pixels": jnp.float64(-1.0), "random": jnp.float64(-1.0)}
    w, state, paths[name] = zero, adam.init(alpha), []
    for _ in range(4 if quick else 20):
        before = alpha
        w, alpha, state, value = outer(w, alpha, state)
        paths[name].append((before["pixels"], before["random"], value))
    first, last = paths[name][0][2], paths[name][-1][2]
    print(
        f"{name}: validation loss {first:.4f} -> {last:.4f}, "
        f"test accuracy {accuracy(w, testing):.1%}"
    )

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
levels = np.unique(np.quantile(table, np.linspace(0, 1, 25)))  # finer where flat
filled = left.contourf(grid, grid, table, levels, cmap="Greys")
figure.colorbar(filled, label="validation loss", format="%.2f")
for (name, path), style in zip(paths.items(), (".-", ".-", ".--"), strict=True):
    p, r, values = np.array(path).T
    left.plot(r, p, style, label=name)
    right.plot(values, style, label=name)
left.set(xlabel="log decay of random features", ylabel="log decay of pixels")
right.axhline(table.min(), color="black", linestyle=":", label="best of the grid")
right.set(xlabel="step of alpha", ylabel="validation loss")
right.legend(frameon=False)
plt.show()

# %% [markdown]
# Conjugate gradients reach the best value of the grid in 20 steps, each with less work than a third of one training. The Neumann series and the unrolled steps give the same estimate here (their lines coincide), because the steps start at the optimum. Both underestimate the directions in which the training loss is flat, so they slow down where the decays are small. More terms help. The rate must stay below 2 / |H|, or both diverge.
#
# ## One weight for every example
#
# A grid works only for few hyper-parameters, a derivative also for many. Now a third of the training labels are wrong, and alpha contains a number for each of the 150 examples: the training loss is the mean over the examples weighted by `sigmoid(alpha)`. The labels of the tuning part are clean.

# %%
wrong = np.arange(150) < 50
shifted = (np.asarray(training["label"]) + draws.integers(1, 10, 150)) % 10
labels = np.where(wrong, shifted, training["label"])
noisy = training | {"label": jnp.asarray(labels)}


def weighted(w, alpha, batch):
    decay = 0.01 * sum(jnp.sum(leaf**2) for leaf in w.values()) / 2
    return jnp.mean(jax.nn.sigmoid(alpha) * each(w, batch)) + decay


reweighted = hypergrad.implicit(weighted, val_loss, hypergrad.cg(50))
adam = optax.adam(0.3)


@jax.jit
def outer(w, alpha, state):
    w = newton(weighted, 2, w, alpha, noisy)
    value, grad = reweighted(w, alpha, noisy, tuning)
    updates, state = adam.update(grad, state)
    return w, optax.apply_updates(alpha, updates), state, value


alpha = jnp.zeros(150)
w, state = newton(weighted, 8, zero, alpha, noisy), adam.init(alpha)
print(f"all examples alike: test accuracy {accuracy(w, testing):.1%}")
for _ in range(5 if quick else 30):
    w, alpha, state, value = outer(w, alpha, state)
learned = jax.nn.sigmoid(alpha)
print(f"learned weights: test accuracy {accuracy(w, testing):.1%}")
print(
    f"mean weight: wrong {learned[wrong].mean():.2f}, right {learned[~wrong].mean():.2f}"
)

# %%
bins = np.linspace(0, 1, 21)
plt.hist([learned[~wrong], learned[wrong]], bins, label=["label right", "label wrong"])
plt.xlabel("learned weight of an example")
plt.ylabel("examples")
plt.legend(frameon=False)
plt.show()

# %% [markdown]
# ## Checking a hypergradient
#
# `check` compares a hypergradient with central differences. An implicit hypergradient claims to be the derivative at `w*(alpha)`, so `check` needs a function that computes `w*(alpha)`: `solve(w, alpha, train_batch)`. Check the hypergradients of your own losses before you rely on them.

# %%
alpha = {"pixels": jnp.float64(-4.0), "random": jnp.float64(-4.0)}
solve = jax.jit(lambda w, alpha, batch: newton(train_loss, 8, zero, alpha, batch))
best = solve(zero, alpha, training)
for inverse in (hypergrad.cg(150, tol=1e-10), hypergrad.neumann(rate, terms)):
    estimator = hypergrad.implicit(train_loss, val_loss, inverse)
    report = hypergrad.check(
        estimator, best, alpha, training, tuning, solve=solve, directions=2
    )
    print(report, end="\n\n")

# %% [markdown]
# The series of 50 terms is biased, and `check` reports the bias. For a loss that blocks the derivative, `check` names the likely cause:


# %%
def cut(w, alpha, batch):
    return train_loss(w, jax.lax.stop_gradient(alpha), batch)


estimator = hypergrad.unrolled(cut, val_loss, optax.sgd(rate))
print(hypergrad.check(estimator, best, alpha, training, tuning))
