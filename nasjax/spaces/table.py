"""A table with the accuracy of every architecture of NAS-Bench-201, from a CSV file.

`packaged` is the table that comes with nasjax; nasbench201.txt beside it names its
sources. Another file may be given, as .csv or .csv.xz. Its first line names the columns;
these are needed:

| column | content |
|---|---|
| `arch` | the architecture's string, see `nasjax.spaces.nasbench201` |
| `cifar10_test_200ep` | test accuracy in percent after 200 epochs, mean over seeds |
| `cifar100_test_200ep` | the same on CIFAR-100 |
| `imagenet16_test_200ep` | the same on ImageNet16-120 |

`nasjax.spaces.official` makes one from the benchmark's files. Other columns of numbers
can be read by name; an empty cell is nan. This module does not need jax.
"""

from __future__ import annotations

import csv
import functools
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from nasjax.core.errors import UserError, short, unknown
from nasjax.core.files import write_bytes
from nasjax.spaces.genotype import Genotype
from nasjax.spaces.nasbench201 import from_string, numbers, to_string

DATASETS = {
    "cifar10": "cifar10_test_200ep",
    "cifar100": "cifar100_test_200ep",
    "imagenet16": "imagenet16_test_200ep",
}
_NEEDED = ("arch", *DATASETS.values())


class Table:
    """The columns of a file with N architectures; N is 15,625 if it has all.

    An architecture may be given as a genotype or as a string.

    Attributes:
      path: the file.
      architectures: strings of the N architectures, in the order of the file.
      columns: the cells as text, by the name of the column.
    """

    def __init__(self, path: Path, columns: Mapping[str, Sequence[str]]):
        self.path = path
        self.architectures = tuple(columns["arch"])
        self.columns = columns
        self._numbers: dict[str, np.ndarray] = {}
        self._rows: dict[str, int] = {}
        for row, text in enumerate(self.architectures):
            if text not in numbers():
                try:
                    from_string(text)
                except UserError as error:
                    raise UserError(f"{path}, row {row + 1}: {error}") from None
            if text in self._rows:
                raise UserError(
                    f"{path} has the architecture {text} twice, in rows "
                    f"{self._rows[text] + 1} and {row + 1}; leave one of them out."
                )
            self._rows[text] = row

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Table:
        """Reads a CSV file, .csv or .csv.xz; 15,625 rows take less than 0.1 s.

        Raises:
          UserError: the file cannot be read, is not a CSV file, lacks a column, or has
            an architecture that is malformed or listed twice.
        """
        path = Path(path)
        try:
            header, *rows = list(csv.reader(io.StringIO(_text(path), ""))) or [[]]
        except OSError as error:
            raise UserError(
                f"Cannot read the table {short(str(path))}: {error.strerror}; give a CSV file with "
                f"the columns {', '.join(_NEEDED)}, or none for the table of nasjax."
            ) from None
        except (ValueError, csv.Error) as error:  # ValueError: not text
            raise UserError(f"{path} is not a CSV file ({error}).") from None
        missing = [name for name in _NEEDED if name not in header]
        if missing:
            raise UserError(
                f"{path} is not a table of NAS-Bench-201: its first line does not name "
                f"the columns {', '.join(missing)}; it needs {', '.join(_NEEDED)}."
            )
        for index, row in enumerate(rows, 1):
            if len(row) != len(header):
                raise UserError(
                    f"{path}, row {index}: there are {len(row)} cells, but "
                    f"{len(header)} columns; fix the row."
                )
        if not rows:
            raise UserError(f"{path} has no rows; give a table with architectures.")
        return cls(path, dict(zip(header, zip(*rows, strict=True), strict=True)))

    @property
    def accuracies(self) -> list[str]:
        """The columns of accuracies."""
        return [name for name in self.columns if "_test_" in name or "_valid_" in name]

    @property
    def full(self) -> list[str]:
        """The columns of accuracies that have a value of every architecture."""
        if len(self.architectures) != len(numbers()):
            return []
        return [name for name in self.accuracies if all(self.columns[name])]

    def column(self, name: str) -> np.ndarray:
        """A column of numbers, float64 [N] in the order of the file; empty cells nan.

        Raises:
          UserError: there is no such column, or it holds something other than numbers.
        """
        if name not in self.columns:
            raise unknown("column", name, self.columns)
        if name not in self._numbers:
            try:
                found = np.array([float(x or "nan") for x in self.columns[name]])
            except ValueError as error:
                raise UserError(
                    f"The column {name!r} of {self.path} does not hold numbers "
                    f"({error}); ask for another column."
                ) from None
            found.flags.writeable = False
            self._numbers[name] = found
        return self._numbers[name]

    def row(self, architecture: Genotype | str) -> int:
        """Index of the architecture in `architectures` and the columns, from 0.

        Raises:
          UserError: the architecture is malformed, or not in the table.
        """
        given = architecture
        text = to_string(given) if isinstance(given, Genotype) else given
        if text not in self._rows:
            from_string(text)
            raise UserError(
                f"The architecture {text} is not in {self.path}, which has "
                f"{len(self._rows)} of the {len(numbers())}; give a table with all."
            )
        return self._rows[text]

    def accuracy(self, architecture: Genotype | str) -> dict[str, float]:
        """Test accuracies in percent: "cifar10", "cifar100" and "imagenet16".

        Raises:
          UserError: as `row`.
        """
        row = self.row(architecture)
        return {name: float(self.column(own)[row]) for name, own in DATASETS.items()}

    def best(self, column: str = DATASETS["cifar10"]) -> str:
        """The architecture with the highest value; the first in case of ties.

        Raises:
          UserError: as `column`; the column has no values.
        """
        values = self.column(column)
        if np.isnan(values).all():
            raise UserError(f"The column {column!r} of {self.path} has no values.")
        return self.architectures[int(np.nanargmax(values))]

    def rank(
        self, architecture: Genotype | str, column: str = DATASETS["cifar10"]
    ) -> int:
        """1 + the number of architectures with a higher value.

        Raises:
          UserError: as `row` and `column`; the architecture has no value.
        """
        return 1 + int((self.column(column) > self._value(architecture, column)).sum())

    def percentile(
        self, architecture: Genotype | str, column: str = DATASETS["cifar10"]
    ) -> float:
        """Percentage of architectures with a lower value, among those with a value.

        Raises:
          UserError: as `rank`.
        """
        values = self.column(column)
        lower = (values < self._value(architecture, column)).sum()
        return 100 * float(lower) / int((~np.isnan(values)).sum())

    def grid(self, column: str) -> np.ndarray:
        """A column as an array [5, 5, 5, 5, 5, 5]: one axis of operations per edge.

        Edges and operations are in the order of the space "nasbench201"; the flat array
        is in the order of `nasjax.spaces.nasbench201.numbers`.

        Raises:
          UserError: as `column`; an architecture is missing or has no value.
        """
        order = np.array([self._rows.get(text, -1) for text in numbers()])
        values = np.where(order < 0, np.nan, self.column(column)[order])
        missing = int(np.isnan(values).sum())
        if missing:
            raise UserError(
                f"The column {column!r} of {self.path} has no value for {missing} of "
                f"the {len(numbers())} architectures; all are needed: take "
                f"{' or '.join(self.full) or 'a table that has them'}."
            )
        return values.reshape((5,) * 6)

    def _value(self, architecture: Genotype | str, column: str) -> float:
        value = float(self.column(column)[self.row(architecture)])
        if np.isnan(value):
            raise UserError(
                f"The column {column!r} of {self.path} has no value for this "
                "architecture; ask for another column."
            )
        return value


@functools.cache
def packaged() -> Table:
    """The table of all 15,625 architectures that comes with nasjax.

    Its rows are in the order of the benchmark's own index. The columns are those of
    `DATASETS`, cifar10_valid_200ep (of 9,445 architectures), and DATA_test_12ep and
    DATA_valid_12ep, after a training of 12 epochs.

    >>> packaged().accuracy("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|")["cifar10"]
    10.0
    """
    return Table.read(Path(__file__).with_name("nasbench201.csv.xz"))


def write(path: Path, columns: Mapping[str, Sequence[str]], instead: str) -> None:
    """Writes a table, compressed if the name ends in .xz.

    columns: cells as text, by the name of the column. instead: see
    `nasjax.core.files.writing`.
    """
    file = io.StringIO()
    rows = zip(*columns.values(), strict=True)
    csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    data = file.getvalue().encode()
    if path.suffix == ".xz":
        lzma = _lzma(path)
        data = lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
    write_bytes(path, data, instead)


def _text(path: Path) -> str:
    """The text of a file; a ValueError if it is none."""
    data = path.read_bytes()
    if path.suffix == ".xz":
        lzma = _lzma(path)
        try:
            data = lzma.decompress(data)
        except lzma.LZMAError as error:
            raise ValueError(error) from None
    return data.decode()


def _lzma(path: Path) -> ModuleType:
    """The module lzma, which is optional when Python is built."""
    try:
        import lzma
    except ImportError:
        raise UserError(
            f"{path} is compressed, and this Python was built without lzma; give a .csv "
            "file, or install liblzma and build Python again."
        ) from None
    return lzma
