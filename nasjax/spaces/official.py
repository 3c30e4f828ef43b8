"""The accuracies of the benchmark's own files as a table, see `nasjax.spaces.table`.

Read are NAS-Bench-201-v1_0-e61699.pth and -v1_1-096897.pth (Dong, Yang, arXiv
2001.00326), and of NATS-Bench (Dong et al., arXiv 2009.00437) the file
NATS-tss-v1_0-3ffb9.pickle.pbz2 and the folder NATS-tss-v1_0-3ffb9-simple. They are
pickles. Neither torch nor the benchmarks' packages are needed, and code in a file is not
run: only numbers, containers and arrays are made.
"""

from __future__ import annotations

import bz2
import os
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from nasjax.core.errors import UserError
from nasjax.spaces.nasbench201 import from_string
from nasjax.spaces.table import Table, write

_SETS = {  # column -> data set that networks were trained on, and set of the accuracy
    "cifar10_valid": ("cifar10-valid", "x-valid"),
    "cifar10_test": ("cifar10", "ori-test"),
    "cifar100_valid": ("cifar100", "x-valid"),
    "cifar100_test": ("cifar100", "x-test"),
    "imagenet16_valid": ("ImageNet16-120", "x-valid"),
    "imagenet16_test": ("ImageNet16-120", "x-test"),
}
_EPOCHS = {"12": "less", "200": "full"}  # names in NATS-Bench and in NAS-Bench-201
_TORCH = 0x1950A86A20F9469CFC6C  # begins files of torch before 1.6
_PLAIN = {
    "collections": ("OrderedDict", "defaultdict"),
    "builtins": ("set",),  # others need no name; __builtin__ in protocol 2
    "__builtin__": ("set",),
    "_codecs": ("encode",),  # of bytes
    "numpy": ("ndarray", "dtype"),
    "numpy.core.multiarray": ("scalar", "_reconstruct"),
    "numpy._core.multiarray": ("scalar", "_reconstruct"),
}


def convert(path: str | os.PathLike[str], output: str | os.PathLike[str]) -> str:
    """Writes the CSV table of an official file; an accuracy is the mean over its seeds.

    Args:
      path: an official file, or a table (.csv, .csv.xz), whose accuracies are kept.
      output: file to write; it is compressed if its name ends in .xz.

    Returns:
      A sentence for the user.

    Raises:
      UserError: the file cannot be read, or has another layout.
    """
    if Path(path).suffix in (".csv", ".xz"):
        table = Table.read(path)
        columns = {name: table.columns[name] for name in ("arch", *table.accuracies)}
    else:
        columns = _columns(path)
    write(Path(output), columns, "another file with -o")
    arch, *names = columns
    return f"{output} has {len(columns[arch])} architectures with {', '.join(names)}."


def _columns(path: str | os.PathLike[str]) -> dict[str, Sequence[str]]:
    """The cells of an official file's table, by the name of the column."""
    names = [f"{name}_{epochs}ep" for epochs in _EPOCHS for name in _SETS]
    try:
        found = _folder(Path(path)) if os.path.isdir(path) else _load(Path(path))
        infos = found["arch2infos"]
        archs = {index: str(found["meta_archs"][index]) for index in sorted(infos)}
        for arch in archs.values():
            from_string(arch)  # refuses the benchmark's space of sizes
        rows = [[arch, *_accuracies(infos[index])] for index, arch in archs.items()]
        return dict(zip(["arch", *names], zip(*rows, strict=True), strict=True))
    except UserError as error:
        raise UserError(f"{path} is no file of cells: {error}") from None
    except Exception as error:  # a pickle of another program raises almost anything
        reason = f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")
        raise UserError(
            f"{path} cannot be read as a file of NAS-Bench-201 ({reason}); give "
            "NAS-Bench-201-v1_1-096897.pth, NATS-tss-v1_0-3ffb9.pickle.pbz2, or the "
            "folder NATS-tss-v1_0-3ffb9-simple."
        ) from None


def _accuracies(info: Mapping[str, Any]) -> list[str]:
    """The cells of an architecture's row; empty where the file has no value."""
    cells = []
    for epochs, other in _EPOCHS.items():
        runs = info[epochs if epochs in info else other]
        for data, part in _SETS.values():
            key = f"{part}@{int(epochs) - 1}"
            every = [
                runs["all_results"][data, seed]["eval_acc1es"].get(key)
                for seed in runs["dataset_seed"].get(data, ())
            ]
            values = [float(value) for value in every if value is not None]
            cells.append(f"{sum(values) / len(values):.6g}" if values else "")
    return cells


def _folder(path: Path) -> dict[str, Any]:
    """The content of a folder with a file for each architecture."""
    files = path.glob("[0-9]*.pickle.pbz2")
    infos = {int(file.name.split(".")[0]): _load(file) for file in files}
    return {**_load(path / "meta.pickle.pbz2"), "arch2infos": infos}


def _load(path: Path) -> Any:
    """The content of a file of pickle or of torch."""
    if zipfile.is_zipfile(path):  # torch since 1.6
        with zipfile.ZipFile(path) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith("data.pkl"))
            with archive.open(name) as inner:
                return _Plain(inner).load()
    with bz2.open(path) if path.suffix == ".pbz2" else open(path, "rb") as file:
        found = _Plain(file).load()
        if found == _TORCH:  # then version, system, object, storages
            _, _, found = (_Plain(file).load() for _ in range(3))
        return found


class _Plain(pickle.Unpickler):
    """Makes numbers, containers and arrays alone; tensors become None."""

    def __init__(self, file: IO[bytes]):
        super().__init__(file, encoding="utf-8")

    def persistent_load(self, pid: Any) -> None:
        return None

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "torch":
            return lambda *args: None
        if name in _PLAIN.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds {module}.{name}")
