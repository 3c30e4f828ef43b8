"""Tables to which modules of the user add rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self, TypeVar

from nasjax.core.errors import UserError

V = TypeVar("V")


class Table(dict[str, V]):
    """A dictionary that refuses a row of another kind.

    >>> table = Table("TABLE", "a function", callable, {})
    >>> table["x"] = 3
    Traceback (most recent call last):
    nasjax.core.errors.UserError: TABLE['x'] is set to an int; expected a function.
    """

    def __init__(
        self,
        name: str,
        expected: str,
        fits: Callable[[Any], bool],
        rows: Mapping[str, V],
    ):
        """The table `name` with `rows`; `expected` says in words what `fits` tests."""
        super().__init__(rows)
        self._name, self._expected, self._fits = name, expected, fits

    def __setitem__(self, key: str, value: V) -> None:
        if not isinstance(key, str) or not key:
            raise UserError(
                f"A row of {self._name} is called {key!r}; expected a name."
            )
        if not self._fits(value):
            kind = type(value).__name__
            article = "an" if kind[0] in "aeiouAEIOU" else "a"
            raise UserError(
                f"{self._name}[{key!r}] is set to {article} {kind}; expected "
                f"{self._expected}."
            )
        super().__setitem__(key, value)

    # The methods of dict do not call __setitem__.
    def update(self, *rows: Any, **more: V) -> None:
        for key, value in dict(*rows, **more).items():
            self[key] = value

    def __ior__(self, rows: Any) -> Self:  # type: ignore[override, misc]
        self.update(rows)
        return self

    def setdefault(self, key: str, default: Any = None) -> V:
        if key not in self:
            self[key] = default
        return self[key]
