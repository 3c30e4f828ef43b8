"""Ranges and choices of settings. A refusal is one sentence with the field's address."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from nasjax.core.errors import UserError, unknown


class Range(NamedTuple):
    """Numbers from `least` to below `end`; integers alone where `least` is one.

    Attributes:
      least: smallest value.
      end: values are below it.
      open: True: `least` itself is refused.
      closed: True: `end` itself is allowed.

    >>> Range(0.0, 1.0).check(0.5, "config.rate")
    >>> Range(1).check(0, "config.steps")
    Traceback (most recent call last):
    nasjax.core.errors.UserError: config.steps is 0; expected an integer from 1.
    """

    least: int | float
    end: float = math.inf
    open: bool = False
    closed: bool = False

    def check(self, value: Any, where: str) -> None:
        """Refuses a value outside the range.

        Raises:
          UserError: the value is outside, or no number of this kind.
        """
        whole = isinstance(self.least, int)
        kinds = int if whole else int | float
        inside = (
            isinstance(value, kinds)
            and not isinstance(value, bool)
            and (self.least < value if self.open else self.least <= value)
            and (value <= self.end if self.closed else value < self.end)
        )
        if not inside:
            kind = "an integer" if whole else "a number"
            start = "above" if self.open else "from"
            bounds = f"{start} {self.least:g}"
            if math.isfinite(self.end):
                bounds += f" to {'' if self.closed else 'below '}{self.end:.10g}"
            raise UserError(f"{where} is {value!r}; expected {kind} {bounds}.")


class OneOf(NamedTuple):
    """Words.

    >>> OneOf(("cg", "neumann")).check("cg", "config.arch.implicit.inverse")
    """

    words: tuple[str, ...]

    def check(self, value: Any, where: str) -> None:
        """Refuses any other value.

        Raises:
          UserError: the value is none of the words.
        """
        if value not in self.words:
            raise unknown(where, value, self.words)


class Size(NamedTuple):
    """Sides of an image in pixels: a number, or (height, width).

    Attributes:
      others: values that are allowed as well.

    >>> Size((0,)).check((32, 48), "config.data.resize")
    """

    others: tuple[Any, ...] = ()

    def check(self, value: Any, where: str) -> None:
        """Refuses any other value.

        Raises:
          UserError: the value is no size.
        """
        sides = value if isinstance(value, tuple | list) else (value, value)
        if len(sides) == 2 and all(type(side) is int and side > 0 for side in sides):
            return
        if any(type(value) is type(other) and value == other for other in self.others):
            return
        others = "".join(f"{other}, " for other in self.others)
        raise UserError(
            f"{where} is {value!r}; expected {others}a side in pixels such as 32, or "
            f'height and width as in --{where}="(32, 48)".'
        )


Limit = Range | OneOf | Size


def at_least(least: int | float) -> Range:
    """Numbers from `least`; integers alone where it is one."""
    return Range(least)


def above(least: float) -> Range:
    """Numbers above `least`."""
    return Range(least, open=True)


def one_of(*words: str) -> OneOf:
    """Any of the words."""
    return OneOf(words)
