"""The contract of a zero-order method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Proposal(NamedTuple):
    """Points to evaluate.

    Attributes:
      candidates: a pytree like x whose leaves lead with [N].
      aux: what the method needs again in `update` (directions, log q, radii).
    """

    candidates: Any
    aux: Any


class ZerothOrder(NamedTuple):
    """A zero-order method as three pure functions.

    Attributes:
      init: (x, key) -> state.
      propose: (state, x, key, guide=None) -> Proposal. guide: a pytree like x, for
        example a gradient; a method that has no use for it ignores it.
      update: (state, x, proposal, losses [N]) -> (x, state, metrics).
    """

    init: Callable
    propose: Callable
    update: Callable
