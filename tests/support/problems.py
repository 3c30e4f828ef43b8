"""Bilevel problems with a known solution."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np


class Quadratic(NamedTuple):
    """L_train = w'Hw/2 - w'(M a + c), L_val = (w - t)'D(w - t)/2 + a'E a/2.

    w* = H^-1 (M a + c), and the hypergradient is E a + M' H^-1 D (w* - t).
    """

    H: np.ndarray
    M: np.ndarray
    c: np.ndarray
    t: np.ndarray
    D: np.ndarray
    E: np.ndarray
    a: np.ndarray

    def train_loss(self, w, a, batch):
        return w @ self.H @ w / 2 - w @ (self.M @ a + self.c)

    def val_loss(self, w, a, batch):
        return (w - self.t) @ self.D @ (w - self.t) / 2 + a @ self.E @ a / 2

    def solve(self, a):
        return np.linalg.solve(self.H, self.M @ a + self.c)

    @property
    def slope(self):
        """grad_w L_val at the optimum."""
        return self.D @ (self.solve(self.a) - self.t)

    @property
    def hypergradient(self):
        return self.E @ self.a + self.M.T @ np.linalg.solve(self.H, self.slope)


def quadratic(seed, n=6, k=4):
    draws = np.random.default_rng(seed)

    def positive(size):
        root = draws.normal(size=(size, size))
        return root @ root.T / size + 0.3 * np.eye(size)

    return Quadratic(
        positive(n),
        draws.normal(size=(n, k)),
        draws.normal(size=n),
        draws.normal(size=n),
        positive(n),
        positive(k),
        draws.normal(size=k),
    )


class Smooth(NamedTuple):
    """A small network with a training and a validation batch, and a non-quadratic loss."""

    w: dict
    alpha: np.ndarray
    train: np.ndarray
    val: np.ndarray

    @staticmethod
    def loss(w, alpha, batch):
        hidden = jnp.tanh(batch @ w["a"]) * alpha[None]
        return jnp.mean(jnp.square(jnp.sin(hidden + w["b"][None])) @ jnp.exp(alpha))


def smooth(seed=0, batches=1):
    draws = np.random.default_rng(seed)
    w = {"a": draws.normal(size=(4, 3)), "b": draws.normal(size=3)}
    train = draws.normal(size=(batches, 5, 4))
    train = train[0] if batches == 1 else train
    return Smooth(w, draws.normal(size=3), train, draws.normal(size=(5, 4)))
